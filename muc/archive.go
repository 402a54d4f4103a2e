package muc

import (
	"database/sql"
	"errors"
	"strings"
)

// saveMessage puts a message into the archive.
type saveMessage struct {
	Room, Nick string
	JID        string // the full one of who wrote it
	OccupantID string
	Body       string
	ID         int64
	XML        []byte // without recipient, default namespace NSAccept
	Replay     replay
	Open       bool // everybody could see the JID when it was sent
}

// replay says if a message in the archive is in the history too, and how it is dated there.
type replay int

const (
	notReplayed   replay = iota
	replayedLate         // with the time when it was sent
	replayedDated        // an owner brought it along with a time (XEP-0045 §7.9)
)

const (
	insertMessage = "INSERT INTO message (room, id, nick, jid, occupant, body, xml, replay, open) VALUES "
	messageRow    = "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
	messageValues = 9
)

// messagesAtOnce are the numbers of messages that there is a statement for. A statement
// costs as much as some rows do, but one with many is not cheaper by row than one with
// the most of these.
var messagesAtOnce = [...]int{40, 8, 1}

// prepareInserts compiles the statements, once for all transactions.
func (st *Store) prepareInserts(db *sql.DB) (err error) {
	for i, n := range messagesAtOnce {
		if st.inserts[i], err = db.Prepare(insertMessage + messageRow + strings.Repeat(", "+messageRow, n-1)); err != nil {
			return err
		}
	}
	return nil
}

// apply leaves the message to flush: one statement stores many.
func (c saveMessage) apply(t *transaction) error {
	room, err := t.number(c.Room)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // there is no such room any more
	} else if err != nil {
		return err
	}
	t.rows = append(t.rows, room, c.ID, c.Nick, c.JID, c.OccupantID, strings.ToLower(c.Body), c.XML, int(c.Replay), c.Open)
	if len(t.rows) == messagesAtOnce[0]*messageValues {
		return t.flush()
	}
	return nil
}

// flush stores the messages that wait for it.
func (t *transaction) flush() error {
	if len(t.rows) == 0 {
		return nil
	}
	rows := t.rows
	t.rows = t.rows[:0]
	for i, n := range messagesAtOnce {
		for n *= messageValues; len(rows) >= n; rows = rows[n:] {
			if _, err := t.tx.Stmt(t.st.inserts[i]).Exec(rows[:n]...); err != nil {
				return err
			}
		}
	}
	return nil
}

// number is what stands for a room in its archive: a name can be given to another room
// later, its number is never given again.
func (t *transaction) number(name string) (int64, error) {
	if n, ok := t.st.numbers[name]; ok {
		return n, nil
	}
	var n int64
	if err := t.tx.QueryRow("SELECT number FROM room WHERE name = ?", name).Scan(&n); err != nil {
		return 0, err
	}
	if len(t.st.numbers) >= maxNumbers {
		clear(t.st.numbers)
	}
	t.st.numbers[name] = n
	return n, nil
}

// maxNumbers bounds how many numbers of rooms are remembered.
const maxNumbers = 20_000

// changeMessage replaces a message in the archive by what is left of it.
type changeMessage struct {
	Room string
	ID   int64
	XML  []byte
}

func (c changeMessage) apply(t *transaction) error {
	return t.erase("UPDATE message SET body = '', xml = ?, replay = ? WHERE room = "+roomNumber+" AND id = ?", c.XML, int(notReplayed), c.Room, c.ID)
}

// retractMessage leaves of a message of one occupant what Tombstone gives for it, if that is not
// nil.
type retractMessage struct {
	Room      string
	ID        int64
	By        string                  // occupant id
	Tombstone func(xml []byte) []byte // is called by another goroutine than the room's
}

func (c retractMessage) apply(t *transaction) error {
	if err := t.flush(); err != nil {
		return err
	}
	var xml []byte
	err := t.tx.QueryRow("SELECT xml FROM message WHERE room = "+roomNumber+" AND id = ? AND occupant = ?", c.Room, c.ID, c.By).Scan(&xml)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	} else if err != nil {
		return err
	}
	if xml = c.Tombstone(xml); xml == nil {
		return nil
	}
	return changeMessage{Room: c.Room, ID: c.ID, XML: xml}.apply(t)
}

// dropArchive deletes all that was said in a room: it is that of another number from now on,
// as if the room were no more and there were a new one, which goes on behind LastID.
type dropArchive struct {
	Room   string
	LastID int64
}

func (c dropArchive) apply(t *transaction) error {
	const none = "" // is the name of no room
	delete(t.st.numbers, c.Room)
	for _, step := range []struct {
		query string
		args  []any
	}{
		{"INSERT INTO dropped (room) SELECT number FROM room WHERE name = ?", []any{c.Room}},
		{"UPDATE room SET name = ? WHERE name = ?", []any{none, c.Room}},
		{`INSERT INTO room (name, config, creator, locked, salt, subject, last_id)
			SELECT ?, config, creator, locked, salt, subject, ? FROM room WHERE name = ?`, []any{c.Room, c.LastID, none}},
		{"DELETE FROM room WHERE name = ?", []any{none}},
	} {
		if err := t.exec(step.query, step.args...); err != nil {
			return err
		}
	}
	return nil
}

const roomNumber = "(SELECT number FROM room WHERE name = ?)"

// last is the greatest id in the archive of a room, 0 if there is none.
func (st *Store) last(room string) (int64, error) {
	var last sql.NullInt64
	err := st.db.QueryRow("SELECT MAX(id) FROM message WHERE room = "+roomNumber, room).Scan(&last)
	return last.Int64, err
}

// history reads the history of a room from its archive.
func (st *Store) history(r *room) error {
	r.history, r.warm = history{}, true
	limit := r.historyLength()
	if limit <= 0 {
		return nil
	}
	name := r.addr.Localpart()
	rows, err := st.db.Query("SELECT * FROM (SELECT id, occupant, xml, replay FROM message WHERE room = "+roomNumber+" AND replay <> ? ORDER BY id DESC LIMIT ?) AS last ORDER BY id", name, int(notReplayed), limit)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		p := past{by: &voice{}, whole: true}
		var xml sql.RawBytes
		var how replay
		if err := rows.Scan(&p.id, &p.by.id, &xml, &how); err != nil {
			return err
		}
		p.dated = how == replayedDated
		r.history.add(p, xml, limit)
	}
	return rows.Err()
}

// A stored is a message as it is in the archive.
type stored struct {
	id                  int64
	nick, jid, occupant string
	open                bool
	xml                 []byte
}

// message reads one message; nil if it is not there.
func (st *Store) message(room string, id int64) (*stored, error) {
	m := &stored{id: id}
	err := st.db.QueryRow("SELECT nick, jid, occupant, open, xml FROM message WHERE room = "+roomNumber+" AND id = ?", room, id).
		Scan(&m.nick, &m.jid, &m.occupant, &m.open, &m.xml)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return m, err
}
