package muc

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// holds tells if a text is in one of the files of a store.
func holds(t *testing.T, file, text string) bool {
	t.Helper()
	files, err := filepath.Glob(file + "*")
	require.NoError(t, err)
	for _, f := range files {
		octets, err := os.ReadFile(f)
		require.NoError(t, err)
		if bytes.Contains(bytes.ToLower(octets), []byte(text)) {
			return true
		}
	}
	return false
}

func forgets(t *testing.T, file, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return !holds(t, file, text) }, 20*time.Second, time.Millisecond)
}

// A calm change finds out if nothing is to be scrubbed.
type calm struct{ is bool }

func (c *calm) apply(t *transaction) error {
	c.is = !t.st.due
	return nil
}

// What was deleted for good is in none of the files soon, while the store goes on.
func TestScrub(t *testing.T) {
	const secret = "eye of newt"
	for name, remove := range map[string]func(w *world, id string){
		"author": func(w *world, id string) {
			w.send("<message type='groupchat' id='r' from='" + crone1 + "' to='coven@" + domain + "'><retract xmlns='" + NSRetract + "' id='" + id + "'/></message>")
		},
		"moderator": func(w *world, id string) { w.did(w.set(crone1, "coven", moderation(id)), crone1) },
		"age":       func(w *world, _ string) { w.expire(time.Now().AddDate(2, 0, 0)) },
		"no archive": func(w *world, _ string) {
			w.configure(crone1, "coven", "muc#roomconfig_enablelogging", "0")
			w.expire(time.Now())
		},
		"destroyed": func(w *world, _ string) {
			w.did(w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><destroy/></query>"), crone1)
			w.expire(time.Now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.scrubAfter = 20 * time.Millisecond
			w.restart()
			w.talk(5)
			require.Eventually(t, func() bool {
				var c calm
				require.NoError(t, w.st.do(&c))
				return c.is
			}, 20*time.Second, time.Millisecond, "what is always done at first")
			id := stanzaID(w.only(w.say(crone1, "coven", "m", secret), crone1))
			w.say(crone2, "coven", "m", "fire burn")
			require.True(t, holds(t, w.file, secret))
			remove(w, id)
			forgets(t, w.file, secret)
		})
	}
}

// The log that a killed process has left is emptied.
func TestScrubAfterACrash(t *testing.T) {
	const secret = "toe of frog"
	file := filepath.Join(t.TempDir(), "rooms.sqlite")
	db, err := storeSchema.Open(file, func(db *sql.DB) error {
		_, err := db.Exec("INSERT INTO meta (name, value) VALUES ('note', '" + secret + "'); DELETE FROM meta")
		return err
	})
	require.NoError(t, err)
	crashed := filepath.Join(t.TempDir(), "rooms.sqlite")
	for _, end := range []string{"", "-wal"} {
		octets, err := os.ReadFile(file + end)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(crashed+end, octets, 0o600))
	}
	require.NoError(t, db.Close())
	require.False(t, holds(t, file, secret), "nor is it there when all is closed")
	require.True(t, holds(t, crashed, secret))
	st, err := openStore(crashed, 0)
	require.NoError(t, err)
	defer st.Close()
	forgets(t, crashed, secret)
}

// While somebody reads the log stays as it is, and it is tried again.
func TestScrubWaits(t *testing.T) {
	const secret = "wool of bat"
	file := filepath.Join(t.TempDir(), "rooms.sqlite")
	st, err := openStore(file, time.Millisecond)
	require.NoError(t, err)
	defer st.db.Close()
	reader, err := st.db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	require.NoError(t, err)
	defer reader.Rollback()
	require.NoError(t, reader.QueryRow("SELECT COUNT(*) FROM room").Scan(new(int)))
	require.NoError(t, st.do(saveRoom{Name: secret, Config: new(KindConfig("open"))}))
	require.NoError(t, st.do(dropRoom{Name: secret}))
	close(st.work)
	<-st.ended // from here on the test is the committer
	st.scrubs.Stop()
	st.scrub()
	require.True(t, holds(t, file, secret))
	require.True(t, st.due)
	require.NoError(t, reader.Rollback())
	<-st.scrubs.C
	st.scrub()
	require.False(t, holds(t, file, secret))
	require.False(t, st.due)
}
