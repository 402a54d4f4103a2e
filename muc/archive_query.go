package muc

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"
)

// A query is what somebody wants of the archive of a room.
type query struct {
	room      string
	from, to  int64   // ids, inclusive, that the filters leave
	ids       []int64 // only these
	known     []int64 // must be there, with ids
	nick      string  // only of who had that nickname
	jid       string  // only of that bare or full JID
	open      bool    // jid only where everybody could see it
	own       string  // or it has this occupant id
	words     []string
	after     int64 // the page is behind that
	before    int64 // and before this
	backwards bool  // it is the last page, and not the first
	max       int
}

// A page is what a query found.
type page struct {
	messages []stored // in the order of the archive
	more     bool     // there is more, in the direction of the query
	index    int      // of the first one; -1: not known
	count    int      // of all that the filters leave; -1: not known
}

// The bounds of a query.
const (
	maxPage    = 250
	usualPage  = 50
	pageBytes  = 1 << 20 // of XML in a page, unless a single message is larger
	maxCounted = 10_000  // more are not counted
)

var queryTimeout = 10 * time.Second

var errUnknownID = errors.New("muc: no such message")

// where are the conditions of the filters.
func (q *query) where() (string, []any) {
	var b strings.Builder
	b.WriteString(" FROM message WHERE room = " + roomNumber + " AND id BETWEEN ? AND ?")
	args := []any{q.room, q.from, q.to}
	if len(q.ids) > 0 {
		b.WriteString(" AND id IN (?" + strings.Repeat(", ?", len(q.ids)-1) + ")")
		for _, id := range q.ids {
			args = append(args, id)
		}
	}
	if q.nick != "" {
		b.WriteString(" AND nick = ?")
		args = append(args, q.nick)
	}
	if q.jid != "" {
		if strings.Contains(q.jid, "/") {
			b.WriteString(" AND jid = ?")
			args = append(args, q.jid)
		} else {
			b.WriteString(" AND jid LIKE ? ESCAPE '!'")
			args = append(args, likeEscaper.Replace(q.jid)+"/%")
		}
		if q.open {
			b.WriteString(" AND (open = ? OR occupant = ?)")
			args = append(args, true, q.own)
		}
	}
	for _, word := range q.words {
		b.WriteString(" AND body LIKE ? ESCAPE '!'")
		args = append(args, "%"+likeEscaper.Replace(strings.ToLower(word))+"%")
	}
	return b.String(), args
}

// indexed tells if the index alone finds the messages: then a page is at once there.
func (q *query) indexed() bool { return q.nick == "" && q.jid == "" && len(q.words) == 0 }

var likeEscaper = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

// search answers a query. The error is errUnknownID if the query names what is not there,
// and context.DeadlineExceeded if it takes too long.
func (st *Store) search(q *query) (*page, error) {
	ctx, cancel := context.WithTimeout(context.Background(), queryTimeout)
	defer cancel()
	p, err := st.searchBy(ctx, q)
	if ctx.Err() != nil {
		return nil, ctx.Err() // the driver's error for that has another name
	}
	return p, err
}

func (st *Store) searchBy(ctx context.Context, q *query) (*page, error) {
	tx, err := st.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // all is of one moment
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	if err := known(ctx, tx, q.room, append(q.known, q.ids...)); err != nil {
		return nil, err
	}
	p := &page{index: -1, count: -1}
	if err := p.read(ctx, tx, q); err != nil {
		return nil, err
	}
	// What is counted by the index alone is cheap.
	if q.indexed() {
		return p, p.number(ctx, tx, q)
	}
	return p, nil
}

// known is errUnknownID if a message is not in the archive.
func known(ctx context.Context, tx *sql.Tx, room string, ids []int64) error {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) == 0 {
		return nil
	}
	args := []any{room}
	for _, id := range ids {
		args = append(args, id)
	}
	var n int
	err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM message WHERE room = "+roomNumber+
		" AND id IN (?"+strings.Repeat(", ?", len(ids)-1)+")", args...).Scan(&n)
	if err == nil && n < len(ids) {
		err = errUnknownID
	}
	return err
}

func (p *page) read(ctx context.Context, tx *sql.Tx, q *query) error {
	paged := *q
	paged.from, paged.to = max(q.from, q.after+1), min(q.to, q.before-1)
	where, args := paged.where()
	order := " ORDER BY id LIMIT ?"
	if q.backwards {
		order = " ORDER BY id DESC LIMIT ?"
	}
	rows, err := tx.QueryContext(ctx, "SELECT id, nick, jid, occupant, open, xml"+where+order, append(args, q.max+1)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for size := 0; rows.Next(); {
		var m stored
		if err := rows.Scan(&m.id, &m.nick, &m.jid, &m.occupant, &m.open, &m.xml); err != nil {
			return err
		}
		size += len(m.xml)
		if len(p.messages) == q.max || size > pageBytes && len(p.messages) > 0 {
			p.more = true
			break
		}
		p.messages = append(p.messages, m)
	}
	if q.backwards {
		slices.Reverse(p.messages)
	}
	return rows.Err()
}

// number finds out the count, and the index of the page.
func (p *page) number(ctx context.Context, tx *sql.Tx, q *query) error {
	count := func(q query) (int, error) {
		where, args := q.where()
		var n int
		err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM (SELECT id"+where+" LIMIT ?) AS page", append(args, maxCounted+1)...).Scan(&n)
		if n > maxCounted {
			n = -1
		}
		return n, err
	}
	var err error
	if p.count, err = count(*q); err != nil || p.count < 0 || len(p.messages) == 0 {
		return err
	}
	before := *q
	before.to = min(q.to, p.messages[0].id-1)
	p.index, err = count(before)
	return err
}

// ends are the ids of the first and last message from an id on; ok is false if there is none.
func (st *Store) ends(room string, since int64) (first, last int64, ok bool, err error) {
	var a, b sql.NullInt64
	const ids = "FROM message WHERE room = r.number AND id >= ?"
	err = st.db.QueryRow("SELECT (SELECT MIN(id) "+ids+"), (SELECT MAX(id) "+ids+") FROM room r WHERE r.name = ?", since, since, room).Scan(&a, &b)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return a.Int64, b.Int64, a.Valid && b.Valid, err
}
