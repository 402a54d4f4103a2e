package muc

import (
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/allium-xmpp/allium/component/database"
)

// A Store keeps rooms and their archives in an SQLite file. It is safe for concurrent
// use. What is committed survives a crash of the program, and of the machine.
//
// What was retracted, is older or more than a room keeps, or was in a room that is no more,
// is written over in the file, and gone from the log beside it some seconds later, or as soon
// as nobody reads then. Two things are not promised: SQLite moves rows from page to page as
// pages fill and empty, and can leave a copy of a row behind, in the unused part of a page,
// until it uses that; and file systems and backups keep what they keep.
type Store struct {
	db    *sql.DB
	work  chan *job
	ended chan struct{}

	// The committer's.
	failed  error            // of the last commit
	numbers map[string]int64 // of rooms
	rows    []any            // as in transaction
	inserts [len(messagesAtOnce)]*sql.Stmt
	scrubber

	retention
}

var storeSchema = database.Schema{Migrations: []string{`
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE room (
	number  INTEGER PRIMARY KEY AUTOINCREMENT, -- of its archive; never given again
	name    TEXT NOT NULL UNIQUE,
	config  TEXT NOT NULL, -- JSON
	creator TEXT NOT NULL,
	locked  INTEGER NOT NULL,
	subject TEXT NOT NULL, -- JSON
	last_id INTEGER NOT NULL DEFAULT 0 -- of the messages that were deleted, the last
);
CREATE TABLE affiliate (
	room   TEXT NOT NULL,
	jid    TEXT NOT NULL,
	level  INTEGER NOT NULL,
	nick   TEXT NOT NULL,
	reason TEXT NOT NULL,
	PRIMARY KEY (room, jid)
) WITHOUT ROWID;
CREATE TABLE message ( -- in the order of their coming, whatever the room: it is written at its end only
	place    INTEGER PRIMARY KEY,
	room     INTEGER NOT NULL,
	id       INTEGER NOT NULL, -- microseconds since 1970
	nick     TEXT NOT NULL,
	jid      TEXT NOT NULL, -- full
	occupant TEXT NOT NULL,
	body     TEXT NOT NULL, -- in lower case, for searches
	xml      BLOB NOT NULL,
	replay   INTEGER NOT NULL, -- 0: is not sent to who enters; 1: is; 2: with the time that it had
	open     INTEGER NOT NULL -- everybody could see the JID
);
CREATE UNIQUE INDEX message_by_room ON message (room, id);
CREATE TABLE dropped (room INTEGER PRIMARY KEY); -- whose archives are still to be deleted
CREATE TABLE vcard (room TEXT PRIMARY KEY, xml BLOB NOT NULL, hash TEXT NOT NULL) WITHOUT ROWID;
`, `
CREATE TABLE hat (
	room  TEXT NOT NULL,
	uri   TEXT NOT NULL,
	title TEXT NOT NULL,
	hue   TEXT NOT NULL,
	PRIMARY KEY (room, uri)
) WITHOUT ROWID;
CREATE TABLE wearer (
	room TEXT NOT NULL,
	jid  TEXT NOT NULL,
	uri  TEXT NOT NULL,
	PRIMARY KEY (room, jid, uri)
) WITHOUT ROWID;
CREATE TABLE invitation (
	room    TEXT NOT NULL,
	hash    BLOB NOT NULL,    -- SHA-256 of the token
	uses    INTEGER NOT NULL, -- that are left; -1 is any number
	expires INTEGER NOT NULL, -- Unix seconds; 0 is never
	made    INTEGER NOT NULL,
	creator TEXT NOT NULL,
	note    TEXT NOT NULL,
	PRIMARY KEY (room, hash)
) WITHOUT ROWID;
CREATE TABLE told (jid TEXT PRIMARY KEY, motd INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX affiliate_by_jid ON affiliate (jid);
`, `
ALTER TABLE room ADD COLUMN salt INTEGER NOT NULL DEFAULT 0;
`, `
CREATE TABLE guest ( -- who was invited
	room    TEXT NOT NULL,
	jid     TEXT NOT NULL,
	inviter TEXT NOT NULL,
	at      INTEGER NOT NULL, -- Unix seconds
	PRIMARY KEY (room, jid, inviter)
) WITHOUT ROWID;
CREATE INDEX guest_by_age ON guest (at);
`, `
ALTER TABLE affiliate ADD COLUMN far INTEGER NOT NULL DEFAULT 0;
`},
	Pragmas: []string{"foreign_keys(ON)", "wal_autocheckpoint(4000)",
		"cache_size(-256)",   // KiB of each connection; the system's cache is as good, and is not held on to
		"secure_delete(ON)"}, // what was deleted is not to be found in the file
	Instead: "put a backup of it back, or move it away; then all rooms are gone",
}

// OpenStore opens or makes the file.
func OpenStore(file string) (*Store, error) { return openStore(file, scrubAfter) }

func openStore(file string, scrubAfter time.Duration) (*Store, error) {
	st := &Store{work: make(chan *job, maxJobs), ended: make(chan struct{}), scrubber: newScrubber(scrubAfter),
		numbers: map[string]int64{}, retention: retention{extents: map[string]*extent{}, stop: make(chan struct{})}}
	db, err := storeSchema.Open(file, st.prepareInserts)
	if err != nil {
		return nil, fmt.Errorf("muc: %s: %w", file, err)
	}
	st.db = db
	go st.commitAll()
	return st, nil
}

// CheckStore tells if a file of rooms can be used, where there is one. It does not change
// it.
func CheckStore(file string) error { return storeSchema.Check(file, nil) }

// Close commits what waits and closes the file. Nothing may be given to the store any
// more.
func (st *Store) Close() error {
	st.mu.Lock()
	close(st.stop)
	st.mu.Unlock()
	st.sweeping.Wait()
	close(st.work)
	<-st.ended
	return st.db.Close()
}

// secret is a random key that is made once.
func (st *Store) secret(name string) ([]byte, error) {
	key := make([]byte, 32)
	rand.Read(key)
	if _, err := st.db.Exec("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, key); err != nil {
		return nil, err
	}
	err := st.db.QueryRow("SELECT value FROM meta WHERE name = ?", name).Scan(&key)
	return key, err
}

// A saved is a room as it is stored, without archive.
type saved struct {
	saveRoom
	affiliates roll[affiliate]
	avatar     string
	lastID     int64
}

// rooms calls room for each room, in the order of their names, without affiliates.
func (st *Store) rooms(room func(saveRoom)) error {
	return st.each("SELECT name, config, creator, locked, salt, subject FROM room ORDER BY name", func(scan func(...any) error) error {
		r, err := scanRoom(scan)
		if err == nil {
			room(r)
		}
		return err
	})
}

func scanRoom(scan func(...any) error, more ...any) (saveRoom, error) {
	var r saveRoom
	var config, subject []byte
	if err := scan(append([]any{&r.Name, &config, &r.Creator, &r.Locked, &r.Salt, &subject}, more...)...); err != nil {
		return r, err
	}
	return r, errors.Join(json.Unmarshal(config, &r.Config), json.Unmarshal(subject, &r.Subject))
}

// load reads a room.
func (st *Store) load(name string) (*saved, error) {
	s := &saved{}
	row := st.db.QueryRow("SELECT name, config, creator, locked, salt, subject, last_id FROM room WHERE name = ?", name)
	var err error
	if s.saveRoom, err = scanRoom(row.Scan, &s.lastID); err != nil {
		return nil, err
	}
	rows, err := st.db.Query("SELECT jid, level, nick, reason, far FROM affiliate WHERE room = ?", name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var a affiliate
		if err := rows.Scan(&a.jid, &a.level, &a.nick, &a.reason, &a.far); err != nil {
			return nil, err
		}
		s.affiliates.put(a)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	err = st.db.QueryRow("SELECT hash FROM vcard WHERE room = ?", name).Scan(&s.avatar)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return s, err
}

// each calls row for each row of a query.
func (st *Store) each(query string, row func(scan func(...any) error) error, args ...any) error {
	rows, err := st.db.Query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// A transaction is what changes are applied in.
type transaction struct {
	st      *Store
	tx      *sql.Tx
	rows    []any // values of messages that wait for flush
	deleted bool  // something that is not to be found any more
}

// erase is exec for what deletes something that is not to be found any more: see scrubber.
func (t *transaction) erase(query string, args ...any) error {
	t.deleted = true
	return t.exec(query, args...)
}

func (t *transaction) exec(query string, args ...any) error {
	if err := t.flush(); err != nil {
		return err
	}
	_, err := t.tx.Exec(query, args...)
	return err
}

// saveRoom stores a room itself.
type saveRoom struct {
	Name    string
	Config  *Config
	Creator string
	Locked  bool
	Salt    int64 // of the occupants' ids
	Subject *subject
}

func (c saveRoom) apply(t *transaction) error {
	config, err := json.Marshal(c.Config)
	if err != nil {
		return err
	}
	subject, err := json.Marshal(c.Subject)
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO room (name, config, creator, locked, salt, subject) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET config = excluded.config, creator = excluded.creator,
		locked = excluded.locked, subject = excluded.subject`, c.Name, string(config), c.Creator, c.Locked, c.Salt, string(subject))
}

// claimName fails where there is a room of that name, whose end could not be stored: all that
// belongs to it would be of the new one.
type claimName struct{ Name string }

func (c claimName) apply(t *transaction) error {
	if err := t.flush(); err != nil {
		return err
	}
	var taken bool
	err := t.tx.QueryRow("SELECT EXISTS (SELECT 1 FROM room WHERE name = ?)", c.Name).Scan(&taken)
	if err == nil && taken {
		err = errors.New("muc: there is a room of that name")
	}
	return err
}

// dropRoom forgets a room with all that belongs to it.
type dropRoom struct{ Name string }

func (c dropRoom) apply(t *transaction) error {
	for _, table := range []string{"affiliate", "vcard", "hat", "wearer", "invitation", "guest"} {
		if err := t.erase("DELETE FROM "+table+" WHERE room = ?", c.Name); err != nil {
			return err
		}
	}
	delete(t.st.numbers, c.Name)
	// The archive can be large: it is deleted bit by bit.
	if err := t.exec("INSERT INTO dropped (room) SELECT number FROM room WHERE name = ?", c.Name); err != nil {
		return err
	}
	return t.erase("DELETE FROM room WHERE name = ?", c.Name)
}

// saveAffiliate stores an affiliation; None without nickname is forgotten.
type saveAffiliate struct {
	Room, JID    string
	Level        Affiliation
	Nick, Reason string
	Far          bool
}

func (c saveAffiliate) apply(t *transaction) error {
	if c.Level == None && c.Nick == "" {
		return t.exec("DELETE FROM affiliate WHERE room = ? AND jid = ?", c.Room, c.JID)
	}
	return t.exec(`INSERT INTO affiliate (room, jid, level, nick, reason, far) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (room, jid) DO UPDATE SET level = excluded.level, nick = excluded.nick, reason = excluded.reason, far = excluded.far`,
		c.Room, c.JID, int(c.Level), c.Nick, c.Reason, c.Far)
}

// saveVCard stores the vCard of a room.
type saveVCard struct {
	Room, Hash string
	XML        []byte
}

func (c saveVCard) apply(t *transaction) error {
	return t.exec(`INSERT INTO vcard (room, xml, hash) VALUES (?, ?, ?)
		ON CONFLICT (room) DO UPDATE SET xml = excluded.xml, hash = excluded.hash`, c.Room, c.XML, c.Hash)
}
