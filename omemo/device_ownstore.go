package omemo

import (
	"context"
	"database/sql"
	"time"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/libsignal/keys/identity"
	"go.mau.fi/libsignal/logger"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/serialize"
	"go.mau.fi/libsignal/state/record"
	signal "go.mau.fi/libsignal/state/store"
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

// LoadPreKey finds a one-time pre-key that was not used yet.
func (st *ownStore) LoadPreKey(_ context.Context, id uint32) (*record.PreKey, error) {
	secret, _, err := Legacy.preKeySecret(st.tx, id, false)
	if err != nil {
		return nil, err
	}
	return record.NewPreKey(id, ecc.CreateKeyPair(secret), signalFormat.PreKeyRecord), nil
}

// RemovePreKey forgets one that was used.
func (st *ownStore) RemovePreKey(_ context.Context, id uint32) error {
	return Legacy.usePreKey(st.tx, id)
}

// LoadSignedPreKey finds a signed pre-key, or one that was replaced not long ago.
func (st *ownStore) LoadSignedPreKey(_ context.Context, id uint32) (*record.SignedPreKey, error) {
	secret, signature, err := Legacy.preKeySecret(st.tx, id, true)
	if err != nil {
		return nil, err
	}
	return record.NewSignedPreKey(id, st.now.Unix(), ecc.CreateKeyPair(secret), signature, signalFormat.SignedPreKeyRecord), nil
}

func sessionOf(a *protocol.SignalAddress) sessionKey {
	return sessionKey{Legacy, a.Name(), a.DeviceID()}
}

// ContainsSession tells if there is a session with a device.
func (st *ownStore) ContainsSession(_ context.Context, a *protocol.SignalAddress) (bool, error) {
	octets, err := loadSession(st.tx, sessionOf(a))
	return octets != nil, err
}

// LoadSession is the session with a device, a new one if there is none.
func (st *ownStore) LoadSession(_ context.Context, a *protocol.SignalAddress) (*record.Session, error) {
	octets, err := loadSession(st.tx, sessionOf(a))
	if err != nil {
		return nil, err
	} else if octets == nil {
		return record.NewSession(signalFormat.Session, signalFormat.State), nil
	}
	return record.NewSessionFromBytes(octets, signalFormat.Session, signalFormat.State)
}

// StoreSession keeps a session.
func (st *ownStore) StoreSession(_ context.Context, a *protocol.SignalAddress, s *record.Session) error {
	return storeSession(st.tx, sessionOf(a), s.Serialize(), st.now)
}
