package omemo

import (
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/allium-xmpp/allium/component/database"
)

// How long keys of an OwnDevice last, and how many there are.
const (
	ownPreKeys  = 100                 // one-time, in each format
	ownRotation = 7 * 24 * time.Hour  // of the signed pre-key (XEP-0384 §4.2)
	ownGrace    = 30 * 24 * time.Hour // how long a signed pre-key is kept after it was replaced
	ownRound    = time.Hour           // how often it is seen to
)

// An OwnDevice is a device of Allium itself, with an id and with keys of both formats. They
// are made once, and kept in a file that only Allium's user can read. It is safe for
// concurrent use.
type OwnDevice struct {
	db    *sql.DB
	now   func() time.Time
	timer *time.Timer
	busy  chan struct{} // has one for each message that is being answered

	work   sync.Mutex // one at a time does something with the file
	closed bool

	mu      sync.Mutex
	id      uint32              // does not change
	bundles map[*Format]*Bundle // that are published; never changed
}

var ownSchema = database.Schema{Migrations: []string{`
CREATE TABLE device (
	id     INTEGER NOT NULL,
	prekey INTEGER NOT NULL -- how many pre-keys were ever made
);
CREATE TABLE identity (
	format  TEXT PRIMARY KEY, -- the namespace
	private BLOB NOT NULL     -- of Curve25519, or the seed of Ed25519
);
CREATE TABLE prekey (
	id        INTEGER PRIMARY KEY,
	format    TEXT NOT NULL,
	private   BLOB NOT NULL, -- of Curve25519
	signature BLOB,          -- of a signed pre-key
	made      INTEGER NOT NULL, -- Unix seconds
	replaced  INTEGER           -- a signed pre-key, by another one; Unix seconds
);
CREATE TABLE session ( -- of Legacy, with devices of others
	jid    TEXT NOT NULL,    -- bare
	device INTEGER NOT NULL,
	record BLOB NOT NULL,    -- as libsignal writes it
	used   INTEGER NOT NULL, -- Unix seconds
	PRIMARY KEY (jid, device)
);
`, `
ALTER TABLE session RENAME TO legacy;
CREATE TABLE session ( -- with devices of others
	format TEXT NOT NULL,    -- the namespace
	jid    TEXT NOT NULL,    -- bare
	device INTEGER NOT NULL,
	record BLOB NOT NULL,    -- of Legacy as libsignal writes it, of OMEMO2 a ratchet as JSON
	used   INTEGER NOT NULL, -- Unix seconds
	PRIMARY KEY (format, jid, device)
);
INSERT INTO session SELECT '` + NSLegacy + `', jid, device, record, used FROM legacy;
DROP TABLE legacy;
`},
	Pragmas:     []string{"secure_delete(ON)"},
	Connections: 1,
	Instead:     "move it away; then Allium has a new device",
}

// OpenOwnDevice opens the file, or makes it with a new device.
func OpenOwnDevice(file string) (*OwnDevice, error) {
	o := &OwnDevice{now: time.Now, busy: make(chan struct{}, maxOwnBusy)}
	_, err := ownSchema.Open(file, func(db *sql.DB) error {
		o.db = db
		return o.renew()
	})
	if err != nil {
		return nil, fmt.Errorf("omemo: %s: %w", file, err)
	}
	o.timer = time.AfterFunc(ownRound, o.round)
	return o, nil
}

// Close closes the file.
func (o *OwnDevice) Close() error {
	o.work.Lock()
	defer o.work.Unlock()
	o.closed = true
	o.timer.Stop()
	return o.db.Close()
}

// round renews keys when it is time. If that fails, what there is stays as it is.
func (o *OwnDevice) round() {
	o.work.Lock()
	defer o.work.Unlock()
	if o.closed {
		return
	}
	if err := o.renew(); err != nil {
		slog.Error("Allium's own OMEMO keys cannot be renewed: is the disk full?", "error", err)
	}
	o.timer.Reset(ownRound)
}

// renew makes what is missing or too old, forgets what was replaced long ago, and publishes
// what is on disk.
func (o *OwnDevice) renew() error {
	tx, err := o.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	now := o.now()
	var id uint32
	err = tx.QueryRow("SELECT id FROM device").Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		id, err = createDevice(tx)
	}
	if err != nil {
		return err
	}
	bundles := map[*Format]*Bundle{}
	for _, f := range []*Format{Legacy, OMEMO2} {
		if err := f.rotate(tx, now); err != nil {
			return err
		}
		if err := f.refill(tx, now); err != nil {
			return err
		}
		if bundles[f], err = f.ownBundle(tx); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.id, o.bundles = id, bundles
	return nil
}

// createDevice makes a device: its id, and an identity in each format.
func createDevice(tx *sql.Tx) (uint32, error) {
	var octets [4]byte
	rand.Read(octets[:])
	id := binary.BigEndian.Uint32(octets[:])%maxID + 1
	if _, err := tx.Exec("INSERT INTO device (id, prekey) VALUES (?, 0)", id); err != nil {
		return 0, err
	}
	for _, f := range []*Format{Legacy, OMEMO2} {
		secret, err := f.newIdentity()
		if err != nil {
			return 0, err
		}
		if _, err := tx.Exec("INSERT INTO identity (format, private) VALUES (?, ?)", f.namespace, secret); err != nil {
			return 0, err
		}
	}
	return id, nil
}
