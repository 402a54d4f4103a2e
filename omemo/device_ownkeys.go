package omemo

import (
	"database/sql"
	"errors"
	"time"

	"go.mau.fi/libsignal/ecc"
)

// maxOwnID is the highest id of a pre-key of an OwnDevice. libsignal has them in 24 bits,
// and uses the highest number for none.
const maxOwnID = 1<<24 - 2

// newSecret makes a secret key of Curve25519.
func newSecret() ([]byte, error) {
	pair, err := ecc.GenerateKeyPair()
	if err != nil {
		return nil, err
	}
	secret := pair.PrivateKey().Serialize()
	return secret[:], nil
}

// publicKey is the public key of a secret one of Curve25519.
func publicKey(secret []byte) Key { return Key(ecc.CreateKeyPair(secret).PublicKey().PublicKey()) }

// rotate replaces a signed pre-key that is too old, and forgets what was replaced long ago.
func (f *Format) rotate(tx *sql.Tx, now time.Time) error {
	if _, err := tx.Exec("DELETE FROM prekey WHERE format = ? AND replaced <= ?", f.namespace, now.Add(-ownGrace).Unix()); err != nil {
		return err
	}
	var made int64
	err := tx.QueryRow("SELECT made FROM prekey WHERE format = ? AND signature IS NOT NULL AND replaced IS NULL", f.namespace).Scan(&made)
	if err != nil && !errors.Is(err, sql.ErrNoRows) || err == nil && now.Sub(time.Unix(made, 0)) < ownRotation {
		return err
	}
	if _, err := tx.Exec("UPDATE prekey SET replaced = ? WHERE format = ? AND signature IS NOT NULL AND replaced IS NULL", now.Unix(), f.namespace); err != nil {
		return err
	}
	return f.newPreKey(tx, now, true)
}

// refill makes one-time pre-keys for those that were used.
func (f *Format) refill(tx *sql.Tx, now time.Time) error {
	var n int
	if err := tx.QueryRow("SELECT COUNT(*) FROM prekey WHERE format = ? AND signature IS NULL", f.namespace).Scan(&n); err != nil {
		return err
	}
	for ; n < ownPreKeys; n++ {
		if err := f.newPreKey(tx, now, false); err != nil {
			return err
		}
	}
	return nil
}

// newPreKey makes a pre-key with an id that no other one has, nor had for long.
func (f *Format) newPreKey(tx *sql.Tx, now time.Time, signed bool) error {
	secret, err := newSecret()
	if err != nil {
		return err
	}
	var signature []byte
	if signed {
		identity, err := f.identity(tx)
		if err != nil {
			return err
		}
		public := publicKey(secret)
		s := f.sign(identity, f.encode(&public))
		signature = s[:]
	}
	var id uint32
	if err := tx.QueryRow("UPDATE device SET prekey = prekey % ? + 1 RETURNING prekey", maxOwnID).Scan(&id); err != nil {
		return err
	}
	_, err = tx.Exec("INSERT INTO prekey (id, format, private, signature, made) VALUES (?,?,?,?,?)", id, f.namespace, secret, signature, now.Unix())
	return err
}

// identity is the secret of the identity key.
func (f *Format) identity(tx *sql.Tx) (secret []byte, err error) {
	err = tx.QueryRow("SELECT private FROM identity WHERE format = ?", f.namespace).Scan(&secret)
	if err == nil && len(secret) != len(Key{}) {
		err = errors.New("an identity is damaged")
	}
	return secret, err
}

// preKeySecret is the secret of a pre-key that can still be used; of a signed one also the
// signature.
func (f *Format) preKeySecret(tx *sql.Tx, id uint32, signed bool) (secret []byte, s Signature, err error) {
	var signature []byte
	err = tx.QueryRow("SELECT private, signature FROM prekey WHERE id = ? AND format = ? AND (signature IS NOT NULL) = ?", id, f.namespace, signed).
		Scan(&secret, &signature)
	copy(s[:], signature)
	return secret, s, err
}

// usePreKey forgets a one-time pre-key, which was used.
func (f *Format) usePreKey(tx *sql.Tx, id uint32) error {
	_, err := tx.Exec("DELETE FROM prekey WHERE id = ? AND format = ? AND signature IS NULL", id, f.namespace)
	return err
}

// ownBundle is what is published. It is verified: what is damaged must not be published.
func (f *Format) ownBundle(tx *sql.Tx) (*Bundle, error) {
	identity, err := f.identity(tx)
	if err != nil {
		return nil, err
	}
	b := &Bundle{Format: f, IdentityKey: f.publicOf(identity)}
	rows, err := tx.Query("SELECT id, private, signature FROM prekey WHERE format = ? AND replaced IS NULL ORDER BY id", f.namespace)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id uint32
		var secret, signature []byte
		if err := rows.Scan(&id, &secret, &signature); err != nil {
			return nil, err
		}
		k := PreKey{id, publicKey(secret)}
		if signature == nil {
			b.PreKeys = append(b.PreKeys, k)
		} else {
			b.SignedPreKey = k
			copy(b.Signature[:], signature)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return b, b.Verify()
}
