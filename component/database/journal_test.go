package database

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A box is letters that are mostly thrown away soon: they are in the journal first.
type box struct {
	t    *testing.T
	file string
	db   *sql.DB
	c    *Committer
	ops  chan Op
	end  chan struct{}

	letters map[string]bool // true: it is in the database
	gone    []string        // that the database may have
}

func openBox(t *testing.T, file string) *box {
	t.Helper()
	b, err := tryBox(t, file)
	require.NoError(t, err)
	return b
}

func tryBox(t *testing.T, file string) (*box, error) {
	s := letters(3)
	s.Soon, s.Connections = true, 1
	s.Migrations = append(s.Migrations, JournalTable)
	b := &box{t: t, file: file, ops: make(chan Op), end: make(chan struct{}), letters: map[string]bool{}}
	var err error
	if b.db, err = s.Open(file, nil); err != nil {
		return nil, err
	}
	for _, name := range b.has() {
		b.letters[name] = true
	}
	j, err := OpenJournal(b.db, file, b.replay, b.fold)
	if err != nil {
		b.db.Close()
		return nil, err
	}
	b.folded()
	b.c = &Committer{DB: b.db, Soon: file, Journal: j, Fold: b.fold, Folded: b.folded}
	go func() {
		defer close(b.end)
		b.c.Run(b.ops)
	}()
	t.Cleanup(b.close)
	return b, nil
}

func (b *box) close() {
	if b.ops != nil {
		close(b.ops)
		<-b.end
		b.db.Close()
		b.ops = nil
	}
}

func (b *box) replay(notes []byte) error {
	for _, note := range strings.Fields(string(notes)) {
		if name, ok := strings.CutPrefix(note, "+"); ok {
			b.letters[name] = false
		} else if name, ok = strings.CutPrefix(note, "-"); ok {
			delete(b.letters, name)
			b.gone = append(b.gone, name)
		} else {
			return errors.New("a note is torn")
		}
	}
	return nil
}

func (b *box) fold(tx *sql.Tx) error {
	for _, name := range b.gone {
		if _, err := tx.Exec("DELETE FROM letter WHERE text = ?", name); err != nil {
			return err
		}
	}
	for name, there := range b.letters {
		if !there {
			if _, err := tx.Exec("INSERT INTO letter (text) VALUES (?)", name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *box) folded() {
	b.gone = nil
	for name := range b.letters {
		b.letters[name] = true
	}
}

func (b *box) do(op Op) error {
	done := make(chan error, 1)
	op.Done = func(err error) { done <- err }
	b.ops <- op
	return <-done
}

func (b *box) put(name string) error {
	return b.do(Op{Note: func(notes []byte) ([]byte, bool) {
		b.letters[name] = false
		return append(notes, " +"+name...), false
	}, Undo: func() { delete(b.letters, name) }})
}

func (b *box) take(name string) error {
	return b.do(Op{Note: func(notes []byte) ([]byte, bool) {
		there := b.letters[name]
		delete(b.letters, name)
		return append(notes, " -"+name...), there
	}, Do: func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM letter WHERE text = ?", name)
		return err
	}})
}

// killed is a file as it were if the process had ended now.
func (b *box) killed() (file string) {
	file = testFile(b.t)
	all, err := filepath.Glob(strings.NewReplacer("?", `\?`).Replace(b.file) + "*")
	require.NoError(b.t, err)
	for _, f := range all {
		data, err := os.ReadFile(f)
		require.NoError(b.t, err)
		require.NoError(b.t, os.WriteFile(file+strings.TrimPrefix(f, b.file), data, 0o600))
	}
	return file
}

// has is what the database has, in order.
func (b *box) has() (names []string) {
	rows, err := b.db.Query("SELECT text FROM letter ORDER BY text")
	require.NoError(b.t, err)
	defer rows.Close()
	for rows.Next() {
		var name string
		require.NoError(b.t, rows.Scan(&name))
		names = append(names, name)
	}
	return names
}

func setFold(t *testing.T, size int64, after time.Duration) {
	s, a := foldSize, foldAfter
	foldSize, foldAfter = size, after
	t.Cleanup(func() { foldSize, foldAfter = s, a })
}

// Whenever the process ends, all is there that was done, and nothing else; what was taken
// soon has never been in the database.
func TestJournal(t *testing.T) {
	for _, size := range []int64{1, 200, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			setFold(t, size, time.Hour)
			rnd := rand.New(rand.NewPCG(3, uint64(size)))
			b := openBox(t, testFile(t))
			want, most := map[string]bool{}, 0
			for i := range 300 {
				if name := fmt.Sprint(i); rnd.IntN(2) == 0 || len(want) == 0 {
					require.NoError(t, b.put(name))
					want[name] = true
				} else {
					name := slices.Sorted(maps.Keys(want))[rnd.IntN(len(want))]
					require.NoError(t, b.take(name))
					delete(want, name)
				}
				if size == 1<<20 {
					require.LessOrEqual(t, len(b.has()), most, "what is new is in the journal alone")
				}
				switch i % 20 {
				case 5:
					other := openBox(t, b.killed())
					require.Equal(t, slices.Sorted(maps.Keys(want)), other.has(), i)
					other.close()
				case 15:
					b.close()
					for i := range int64(2) {
						st, err := os.Stat(journalPath(b.file, i))
						require.NoError(t, err)
						require.Zero(t, st.Size(), "nothing lies about of what was folded")
						require.Equal(t, os.FileMode(0o600), st.Mode())
					}
					b = openBox(t, b.file)
					require.Equal(t, slices.Sorted(maps.Keys(want)), b.has())
					most = len(want)
				}
			}
		})
	}
}

// What is in the journal for long is folded, also when nothing else happens.
func TestJournalFoldsInTime(t *testing.T) {
	setFold(t, 1<<20, 10*time.Millisecond)
	b := openBox(t, testFile(t))
	require.NoError(t, b.put("a"))
	require.Eventually(t, func() bool { return len(b.has()) == 1 }, 10*time.Second, time.Millisecond)
}

// What was not written as a whole was not written. That of another journal, which a power
// failure can leave in the file, does not count.
func TestJournalTorn(t *testing.T) {
	setFold(t, 1<<20, time.Hour)
	b := openBox(t, testFile(t))
	for _, name := range []string{"a", "b", "c"} {
		require.NoError(t, b.put(name))
	}
	path := journalPath(b.file, b.c.Journal.number)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	frame := frameHeader + len(" +a")
	require.Len(t, whole, journalHeader+3*frame)
	torn := func(data []byte) int {
		file := b.killed()
		require.NoError(t, os.WriteFile(file+strings.TrimPrefix(path, b.file), data, 0o600))
		require.NoError(t, CheckJournal(b.db, file, b.replay))
		other := openBox(t, file)
		defer other.close()
		require.Equal(t, []string{"a", "b", "c"}[:len(other.has())], append([]string{}, other.has()...))
		return len(other.has())
	}
	for n := range whole {
		require.Equal(t, max(0, n-journalHeader)/frame, torn(whole[:n]))
	}
	for _, at := range []int{journalHeader + frame, journalHeader + frame + 4, journalHeader + 2*frame - 1} {
		broken := slices.Clone(whole)
		broken[at] ^= 1
		require.Equal(t, 1, torn(broken))
	}
	// The first page did not get on disk, and others did.
	lost := slices.Clone(whole)
	clear(lost[:journalHeader])
	require.Zero(t, torn(lost))

	// An older one of the same file.
	older := append(slices.Clone(whole[:journalHeader+frame]), whole[journalHeader+frame:]...)
	older[len(journalMagic)] += 2
	require.Zero(t, torn(older))

	// What is whole and cannot be read is damaged.
	require.NoError(t, b.do(Op{Note: func(notes []byte) ([]byte, bool) { return append(notes, "?"...), false }}))
	file := b.killed()
	require.ErrorContains(t, CheckJournal(b.db, file, b.replay), "torn")
	_, err = tryBox(t, file)
	require.ErrorContains(t, err, "torn")
}

// Who writes is told when the disk is full, and what was not written has not been done.
func TestJournalDiskFull(t *testing.T) {
	setFold(t, 1<<20, time.Hour)
	b := openBox(t, testFile(t))
	require.NoError(t, b.put("a"))
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	require.NoError(t, err)
	file := &b.c.Journal.files[b.c.Journal.number&1]
	real := *file
	for _, watched := range []time.Time{{}, time.Now().Add(time.Hour)} {
		require.NoError(t, b.do(Op{Do: func(*sql.Tx) error { *file, b.c.Journal.watched = full, watched; return nil }}))
		require.ErrorContains(t, b.put("b"), "no space left")
	}
	require.NoError(t, b.do(Op{Do: func(*sql.Tx) error { *file = real; return nil }}))
	full.Close()
	require.NoError(t, b.put("c"))
	require.Equal(t, map[string]bool{"a": false, "c": false}, b.letters)
	require.Equal(t, []string{"a", "c"}, openBox(t, b.killed()).has())
}

// What is noted for a transaction that fails is taken back.
func TestJournalTransactionFails(t *testing.T) {
	setFold(t, 1<<20, time.Hour)
	b := openBox(t, testFile(t))
	exec(t, b.db, "PRAGMA foreign_keys = ON")
	exec(t, b.db, "CREATE TABLE parcel (letter INTEGER REFERENCES letter DEFERRABLE INITIALLY DEFERRED)")
	require.NoError(t, b.put("a"))
	require.ErrorContains(t, b.do(Op{Note: func(notes []byte) ([]byte, bool) { return append(notes, " +b"...), true },
		Do: func(tx *sql.Tx) error { _, err := tx.Exec("INSERT INTO parcel VALUES (7)"); return err }}), "FOREIGN KEY")
	require.Equal(t, []string{"a"}, openBox(t, b.killed()).has())
}

// A journal that cannot be folded goes on, and is folded as soon as it can be; but it does
// not fill the disk.
func TestJournalFoldFails(t *testing.T) {
	setFold(t, 100, 10*time.Millisecond)
	b := openBox(t, testFile(t))
	exec(t, b.db, "CREATE TRIGGER stuck BEFORE INSERT ON letter BEGIN SELECT RAISE(ABORT, 'stuck'); END")
	var names []string
	var err error
	for i := 0; err == nil; i++ {
		name := fmt.Sprintf("%05d", i)
		if err = b.put(name); err == nil {
			names = append(names, name)
		}
		require.Less(t, i, 1000)
	}
	require.ErrorContains(t, err, "cannot be folded: constraint failed: stuck")
	st, err := os.Stat(journalPath(b.file, b.c.Journal.number))
	require.NoError(t, err)
	require.Less(t, st.Size(), (maxFolds+2)*foldSize)
	exec(t, b.db, "DROP TRIGGER stuck")
	require.Eventually(t, func() bool { return len(b.has()) == len(names) }, 10*time.Second, time.Millisecond)
	assert.Equal(t, names, b.has())
	require.NoError(t, b.put("more"))
}

// While what was folded cannot be brought on disk, the journals keep it: a power failure
// takes nothing of it. There is only so much room; all goes on as soon as it can.
func TestJournalNotOnDisk(t *testing.T) {
	setFold(t, 100, time.Hour)
	b := openBox(t, testFile(t))
	require.NoError(t, b.put("00000"))
	before := b.killed() // the database as it stays on disk
	require.NoError(t, os.Rename(b.file+"-wal", b.file+"-away"))
	first := b.c.Journal.number
	var err error
	for i := 1; err == nil; i++ {
		err = b.put(fmt.Sprintf("%05d", i))
		require.Less(t, i, 1000)
	}
	require.ErrorContains(t, err, "not on disk yet")
	require.Equal(t, first+1, b.c.Journal.number, "it was folded once")
	for i := range int64(2) {
		data, err := os.ReadFile(journalPath(b.file, i))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(journalPath(before, i), data, 0o600))
	}
	want := slices.Sorted(maps.Keys(b.letters))
	other := openBox(t, before)
	require.Equal(t, want, other.has())
	other.close()

	require.NoError(t, os.Rename(b.file+"-away", b.file+"-wal"))
	require.Eventually(t, func() bool { return b.put("more") == nil }, 10*time.Second, time.Millisecond)
	b.close()
	b = openBox(t, b.file)
	require.Equal(t, append(want, "more"), b.has())
}

// The files are Allium's alone, whoever made them, and not behind links. What is no journal
// is not thrown away.
func TestJournalFiles(t *testing.T) {
	file := testFile(t)
	path := journalPath(file, 1)
	require.NoError(t, os.WriteFile(path, nil, 0o666))
	openBox(t, file).close()
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode())

	const text = "something else, that is somebody's"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	_, err = tryBox(t, file)
	require.ErrorContains(t, err, "its journal is none")
	require.NoError(t, os.Rename(path, path+"-else"))
	require.NoError(t, os.Truncate(path+"-else", 0))
	require.NoError(t, os.Symlink(path+"-else", path))
	_, err = tryBox(t, file)
	require.Error(t, err)
}

// The first that is committed does not wait for the disk: the log has begun before.
func TestLogBegins(t *testing.T) {
	file := testFile(t)
	for range 2 {
		b := openBox(t, file)
		log, err := os.Stat(file + "-wal")
		require.NoError(t, err)
		assert.Greater(t, log.Size(), int64(4096))
		b.close()
		require.NoFileExists(t, file+"-wal")
	}
}
