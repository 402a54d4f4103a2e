package omemo

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/libsignal/keys/identity"
	"go.mau.fi/libsignal/logger"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/serialize"
	"go.mau.fi/libsignal/state/record"
	signal "go.mau.fi/libsignal/state/store"
)

// Limits of sessions that are kept.
const (
	maxOwnSessions  = 1000
	maxSessionBytes = 256 << 10 // of one; who skips many messages makes it large
)

// silent is for libsignal, which else prints what goes wrong.
type silent struct{}

func (silent) Debug(_, _ string)   {}
func (silent) Info(_, _ string)    {}
func (silent) Warning(_, _ string) {}
func (silent) Error(_, _ string)   {}
func (silent) Configure(string)    {}

func init() {
	var l logger.Loggable = silent{}
	logger.Setup(&l)
}

var signalFormat = serialize.NewProtoBufSerializer()

// An ownStore is what libsignal reads and changes of the device, in one transaction. It has
// those of the methods that reading and answering a message calls.
type ownStore struct {
	signal.Session
	signal.PreKey
	signal.SignedPreKey
	signal.IdentityKey

	tx  *sql.Tx
	o   *OwnDevice
	now time.Time
}

// GetIdentityKeyPair is the identity of the device; nil if it cannot be read.
func (st *ownStore) GetIdentityKeyPair() *identity.KeyPair {
	secret, err := Legacy.identity(st.tx)
	if err != nil {
		return nil
	}
	pair := ecc.CreateKeyPair(secret)
	return identity.NewKeyPair(identity.NewKey(pair.PublicKey()), pair.PrivateKey())
}

// GetLocalRegistrationID is the id of the device.
func (st *ownStore) GetLocalRegistrationID() uint32 { return st.o.id }

// SaveIdentity keeps nothing: see IsTrustedIdentity.
func (st *ownStore) SaveIdentity(context.Context, *protocol.SignalAddress, *identity.Key) error {
	return nil
}

// IsTrustedIdentity trusts everybody: what the device says is no secret, and what it is told
// it does nothing with.
func (st *ownStore) IsTrustedIdentity(context.Context, *protocol.SignalAddress, *identity.Key) (bool, error) {
	return true, nil
}

// key is the secret of a pre-key.
func (st *ownStore) key(id uint32, signed bool) (*ecc.ECKeyPair, [64]byte, error) {
	var secret, signature []byte
	err := st.tx.QueryRow("SELECT private, signature FROM prekey WHERE id = ? AND format = ? AND (signature IS NOT NULL) = ?", id, NSLegacy, signed).
		Scan(&secret, &signature)
	var s [64]byte
	copy(s[:], signature)
	return ecc.CreateKeyPair(secret), s, err
}

// LoadPreKey finds a one-time pre-key that was not used yet.
func (st *ownStore) LoadPreKey(_ context.Context, id uint32) (*record.PreKey, error) {
	pair, _, err := st.key(id, false)
	if err != nil {
		return nil, err
	}
	return record.NewPreKey(id, pair, signalFormat.PreKeyRecord), nil
}

// RemovePreKey forgets one that was used.
func (st *ownStore) RemovePreKey(_ context.Context, id uint32) error {
	_, err := st.tx.Exec("DELETE FROM prekey WHERE id = ? AND format = ? AND signature IS NULL", id, NSLegacy)
	return err
}

// LoadSignedPreKey finds a signed pre-key, or one that was replaced not long ago.
func (st *ownStore) LoadSignedPreKey(_ context.Context, id uint32) (*record.SignedPreKey, error) {
	pair, signature, err := st.key(id, true)
	if err != nil {
		return nil, err
	}
	return record.NewSignedPreKey(id, st.now.Unix(), pair, signature, signalFormat.SignedPreKeyRecord), nil
}

// ContainsSession tells if there is a session with a device.
func (st *ownStore) ContainsSession(ctx context.Context, a *protocol.SignalAddress) (bool, error) {
	var n int
	err := st.tx.QueryRow("SELECT COUNT(*) FROM session WHERE jid = ? AND device = ?", a.Name(), a.DeviceID()).Scan(&n)
	return n > 0, err
}

// LoadSession is the session with a device, a new one if there is none.
func (st *ownStore) LoadSession(_ context.Context, a *protocol.SignalAddress) (*record.Session, error) {
	var octets []byte
	err := st.tx.QueryRow("SELECT record FROM session WHERE jid = ? AND device = ?", a.Name(), a.DeviceID()).Scan(&octets)
	if errors.Is(err, sql.ErrNoRows) {
		return record.NewSession(signalFormat.Session, signalFormat.State), nil
	} else if err != nil {
		return nil, err
	}
	return record.NewSessionFromBytes(octets, signalFormat.Session, signalFormat.State)
}

// StoreSession keeps a session. If there are too many, those that were not used for longest
// are forgotten.
func (st *ownStore) StoreSession(_ context.Context, a *protocol.SignalAddress, s *record.Session) error {
	octets := s.Serialize()
	if len(octets) > maxSessionBytes {
		return errors.New("a session is too large")
	}
	if _, err := st.tx.Exec("INSERT OR REPLACE INTO session (jid, device, record, used) VALUES (?,?,?,?)",
		a.Name(), a.DeviceID(), octets, st.now.Unix()); err != nil {
		return err
	}
	_, err := st.tx.Exec("DELETE FROM session WHERE rowid IN (SELECT rowid FROM session ORDER BY used DESC, rowid DESC LIMIT -1 OFFSET ?)", maxOwnSessions)
	return err
}
