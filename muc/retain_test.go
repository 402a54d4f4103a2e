package muc

import (
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// expire lets the store delete what is too old at some time.
func (w *world) expire(now time.Time) {
	w.t.Helper()
	require.NoError(w.t, w.st.do(&survey{})) // behind all that was to be stored
	for range 2 {                            // the first looks, the second finds what came since
		w.st.expire(now, w.sv.limits, w.sv.kept())
		w.st.sweeping.Wait()
	}
}

func (w *world) messages() (n int) {
	w.t.Helper()
	require.NoError(w.t, w.st.db.QueryRow("SELECT COUNT(*) FROM message").Scan(&n))
	return n
}

// XEP-0313 §3.2: an archive is bounded by number; the oldest go, without holes.
func TestKeepNumber(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.MessageRate = -1; o.Limits.KeepNumber = sliceOf })
	ids := w.talk(2*sliceOf + 40)
	w.expire(time.Now())
	require.Equal(t, sliceOf, w.messages())
	f := w.query(crone1, "coven", page1(maxPage))
	require.Equal(t, ids[sliceOf+40:], f.ids)
	require.Equal(t, "cancel/item-not-found", w.query(crone1, "coven", page1(5, "<after>"+ids[0]+"</after>")).err)
	w.configure(crone1, "coven", "{urn:xmpp:allium:0}keep_messages", "3")
	w.expire(time.Now())
	require.Equal(t, ids[len(ids)-3:], w.query(crone1, "coven", "").ids)
	require.Len(t, to(w.enter(hag, "coven", "thirdwitch"), hag), 3+3+1, "others and self, history, subject")
	// What came since then is counted, over a restart too.
	for i := range 4 {
		w.say(crone1, "coven", fmt.Sprint("n", i), "more")
	}
	w.expire(time.Now())
	require.Equal(t, 3, w.messages())
	w.restart()
	w.enter(crone1, "coven", "firstwitch")
	w.say(crone1, "coven", "n5", "more")
	w.expire(time.Now())
	require.Equal(t, 3, w.messages())
}

// XEP-0313 §3.2: an archive is bounded by age; the service's limit is the highest.
func TestKeepDays(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.KeepDays = 10 })
	ids := w.talk(3)
	w.configure(crone1, "coven", "{urn:xmpp:allium:0}keep_days", "30")
	w.expire(time.Now().AddDate(0, 0, 9))
	require.Equal(t, ids, w.query(crone1, "coven", "").ids)
	w.expire(time.Now().AddDate(0, 0, 11))
	require.Zero(t, w.messages())
	w.say(crone1, "coven", "m9", "more")
	w.configure(crone1, "coven", "{urn:xmpp:allium:0}keep_days", "2")
	w.expire(time.Now().AddDate(0, 0, 1))
	require.Equal(t, 1, w.messages())
	w.expire(time.Now().AddDate(0, 0, 3))
	require.Zero(t, w.messages())
	require.Equal(t, "cancel/item-not-found", w.query(crone1, "coven", page1(5, "<after>"+ids[2]+"</after>")).err)
	r := w.sv.awake("coven").room
	r.now = time.Now().AddDate(0, 0, 3)
	require.Empty(t, r.recent(), "nor does who enters get it")
}

// XEP-0313 §3.2: what is too old is not told any more, also before it is deleted, and as soon
// as that is configured.
func TestKeepDaysAtOnce(t *testing.T) {
	w := newWorld(t)
	ids := w.talk(4)
	old := w.sv.awake("coven").room
	first, ok := old.parseID(ids[1])
	require.True(t, ok)
	_, err := w.st.db.Exec("UPDATE message SET id = id - ? WHERE id <= ?", (48 * time.Hour).Microseconds(), first)
	require.NoError(t, err)
	aged := func(text string) string {
		id, ok := old.parseID(text)
		require.True(t, ok)
		return old.idText(id - (48 * time.Hour).Microseconds())
	}
	before := []string{aged(ids[0]), aged(ids[1])}
	metadata := func() string { return w.get(crone1, "coven", "<metadata xmlns='"+NSMAM+"'/>").String() }
	require.Equal(t, append(before, ids[2:]...), w.query(crone1, "coven", "").ids)
	require.Contains(t, metadata(), before[0])
	w.did(w.configure(crone1, "coven", "{urn:xmpp:allium:0}keep_days", "1"), crone1)
	require.Equal(t, 4, w.messages(), "nothing is deleted yet")
	require.Equal(t, ids[2:], w.query(crone1, "coven", "").ids)
	require.Equal(t, "cancel/item-not-found", w.query(crone1, "coven", page1(5, "<after>"+before[0]+"</after>")).err)
	require.NotContains(t, metadata(), before[0])
	require.Contains(t, metadata(), ids[2])
}

// XEP-0313 §3.2: the ids of what was deleted are not given again, even if the clock goes back.
func TestDeletedIDs(t *testing.T) {
	w := newWorld(t)
	w.talk(2)
	last := w.sv.awake("coven").room.lastID
	w.expire(time.Now().AddDate(2, 0, 0))
	require.Zero(t, w.messages())
	w.restart()
	w.say(crone1, "coven", "m", "not in")
	r := w.sv.awake("coven").room
	require.Equal(t, last, r.lastID)
	r.now = time.UnixMicro(1)
	require.Equal(t, last+1, r.nextID())
}

// An owner who turns the archive off has what is there deleted.
func TestNoArchive(t *testing.T) {
	w := newWorld(t)
	ids := w.talk(3)
	w.configure(crone1, "coven", "muc#roomconfig_enablelogging", "0")
	w.say(crone1, "coven", "m9", "off the record")
	require.Equal(t, 3, w.messages())
	w.expire(time.Now())
	require.Zero(t, w.messages())
	last := w.sv.awake("coven").room.lastID
	w.restart()
	w.configure(crone1, "coven", "muc#roomconfig_enablelogging", "1")
	w.enter(crone1, "coven", "firstwitch")
	more := stanzaID(w.only(w.say(crone1, "coven", "m10", "again"), crone1))
	require.NotContains(t, ids, more)
	require.Greater(t, w.sv.awake("coven").room.lastID, last)
	require.Equal(t, []string{more}, w.query(crone1, "coven", "").ids)

	none := newWorld(t, func(o *Options) { o.Limits.NoArchive = true })
	none.talk(2)
	require.Zero(t, none.messages())
}

// XEP-0045 §10.2.1 (171), XEP-0313 §3.2: an archive that is switched off is gone at once, for
// who asks it and for who enters, also if it is switched on again; all else is as it was.
func TestNoArchiveAtOnce(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := newWorld(t)
		w.talk(3)
		w.did(w.configure(crone1, "coven", "muc#roomconfig_persistentroom", "1", "muc#roomconfig_roomname", "Cave"), crone1)
		w.enter(hag, "coven", "thirdwitch") // the history is in memory
		last := w.sv.awake("coven").room.lastID
		history := func(who string) (n int) {
			for _, s := range to(w.enter(who, "coven", who[:4]), who) {
				if s.Body() != "" {
					n++
				}
			}
			return n
		}
		w.did(w.configure(crone1, "coven", "muc#roomconfig_enablelogging", "0"), crone1)
		require.Zero(t, history(macbeth))
		if restart {
			w.restart()
			w.enter(crone1, "coven", "firstwitch")
		}
		w.did(w.configure(crone1, "coven", "muc#roomconfig_enablelogging", "1"), crone1)
		require.Empty(t, w.query(crone1, "coven", "").ids)
		require.Zero(t, history(hecate))
		require.Equal(t, last, w.sv.awake("coven").room.lastID)
		more := stanzaID(w.only(w.say(crone1, "coven", "m", "again"), crone1))
		require.Equal(t, []string{more}, w.query(crone1, "coven", "").ids)
		require.Equal(t, 4, w.messages())
		w.expire(time.Now())
		require.Equal(t, 1, w.messages(), "and then from the file")
		require.Equal(t, []string{more}, w.query(crone1, "coven", "").ids)
		w.restart()
		require.Equal(t, "Cave", w.get(crone1, "coven", discoInfo).Payload().Child(component.NSDiscoInfo, "identity").AttrValue("name"))
	}
}

// XEP-0045 §10.9, §10.1.3: the archive goes with its room, and is not that of the next one
// of that name.
func TestArchiveOfDestroyed(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.MessageRate = -1 })
	ids := w.talk(sliceOf + 3)
	w.expire(time.Now())
	w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><destroy/></query>")
	w.open(crone1, "coven", "firstwitch")
	require.Empty(t, w.query(crone1, "coven", "").ids)
	id := stanzaID(w.only(w.say(crone1, "coven", "m", "new"), crone1))
	require.NotContains(t, ids, id)
	require.Equal(t, sliceOf+4, w.messages())
	w.expire(time.Now())
	require.Equal(t, 1, w.messages())
	require.Equal(t, []string{id}, w.query(crone1, "coven", "").ids)
	// A temporary room ends when the last one leaves.
	w.send("<presence type='unavailable' from='" + crone1 + "' to='coven@" + domain + "/firstwitch'/>")
	w.expire(time.Now())
	require.Zero(t, w.messages())
}

// What is known of archives is as they are, whatever is stored in one transaction.
func TestExtents(t *testing.T) {
	w := newWorld(t)
	w.talk(3)
	w.expire(time.Now())
	r := w.sv.awake("coven").room
	save := func(id int64) change { return saveMessage{Room: "coven", ID: id, XML: []byte("<message></message>")} }
	done := make(chan error, 1)
	at := r.lastID
	w.st.submit([]change{save(at + 1), &survey{names: []string{"coven"}}, save(at + 2), save(at + 3)}, func(err error) { done <- err })
	require.NoError(t, <-done)
	x, ok := w.st.extent("coven")
	require.True(t, ok)
	require.Equal(t, w.messages(), x.count)
	// A transaction that fails leaves nothing behind.
	w.st.submit([]change{save(at + 4), save(at + 4)}, func(err error) { done <- err })
	require.Error(t, <-done)
	again, _ := w.st.extent("coven")
	require.Equal(t, x, again)
	require.Equal(t, again.count, w.messages())
}

// A room that ends while old messages of it are deleted does not fail what others have
// stored in the same transaction.
func TestTrimOfDestroyed(t *testing.T) {
	w := newWorld(t)
	w.talk(3)
	w.expire(time.Now())
	done := make(chan error, 1)
	c := &trim{name: "coven", now: time.Now(), limits: Limits{KeepNumber: 1}}
	w.st.submit([]change{dropRoom{Name: "coven"}, c}, func(err error) { done <- err })
	require.NoError(t, <-done)
	require.True(t, c.done)
}

// What a room has been told to keep is kept, though it was looked at before that.
func TestTrimOfWhatIsKeptByNow(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_enablelogging", "0")
	before := w.sv.kept()
	w.configure(crone1, "coven", "muc#roomconfig_enablelogging", "1")
	w.say(hag, "coven", "1", "Double, double toil and trouble")
	for range 2 {
		w.st.expire(time.Now(), w.sv.limits, before)
		w.st.sweeping.Wait()
	}
	require.Equal(t, 1, w.messages())
}

// What cannot be stored in one room fails nobody else, though all is stored together.
func TestFailureOfOne(t *testing.T) {
	w := newWorld(t)
	w.talk(1)
	save := func(id int64) change { return saveMessage{Room: "coven", ID: id, XML: []byte("<message></message>")} }
	at := w.sv.awake("coven").room.lastID
	jobs := []*job{{changes: []change{save(at + 1)}}, {changes: []change{save(at + 2), save(at + 2)}}, {changes: []change{save(at + 3)}}}
	done := make(chan struct{})
	w.st.submit(nil, func(error) { close(done) }) // the committer is idle then
	<-done
	w.st.commit(jobs, nil)
	require.NoError(t, jobs[0].err)
	require.Error(t, jobs[1].err)
	require.NoError(t, jobs[2].err)
	require.Equal(t, 3, w.messages())
}

// Not each of those that wait, waits for a file that another process holds.
func TestStoreThatIsLocked(t *testing.T) {
	w := newWorld(t)
	w.talk(1)
	w.st.db.SetMaxOpenConns(1)
	_, err := w.st.db.Exec("PRAGMA busy_timeout = 100")
	require.NoError(t, err)
	other, err := sql.Open("sqlite", w.file)
	require.NoError(t, err)
	defer other.Close()
	_, err = other.Exec("BEGIN IMMEDIATE")
	require.NoError(t, err)
	at := w.sv.awake("coven").room.lastID
	jobs := make([]*job, maxJobs)
	for i := range jobs {
		jobs[i] = &job{undone: new(atomic.Bool), changes: []change{saveMessage{Room: "coven", ID: at + int64(i), XML: []byte("<message></message>")}}}
	}
	jobs[5].changes = append(jobs[5].changes, claimName{"coven"})
	done := make(chan struct{})
	go func() { defer close(done); w.st.commit(jobs, nil) }()
	require.Eventually(t, func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}, time.Minute, time.Millisecond)
	for i, j := range jobs {
		require.ErrorContains(t, j.err, "locked")
		require.Equal(t, i == 5, j.undone.Load())
	}
}

// A room that keeps its archive for more days than there were keeps all of it.
func TestKeepForVeryLong(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.KeepDays = -1 })
	w.coven("{urn:xmpp:allium:0}keep_days", "1000000000")
	w.say(hag, "coven", "1", "Double, double toil and trouble")
	require.Len(t, w.query(hag, "coven", "").ids, 1)
	w.sv.tick(time.Now())
	w.st.sweeping.Wait()
	require.Equal(t, 1, w.messages())
}
