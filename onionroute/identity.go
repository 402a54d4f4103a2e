package onionroute

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cretz/bine/torutil"
	"github.com/cretz/bine/torutil/ed25519"
)

// An Identity is an onion key of ours and the name that follows from it. It does not
// change, and is safe for concurrent use.
type Identity struct {
	key  ed25519.KeyPair
	name string
}

// The head of tor's own key file, hs_ed25519_secret_key; 64 octets of expanded key
// follow. With the same form here a key can be moved from and to a tor by copying.
var keyFileHead = []byte("== ed25519v1-secret: type0 ==\x00\x00\x00")

// ErrNoIdentity tells that there is no key file yet.
var ErrNoIdentity = errors.New("onionroute: no key file")

// ErrDamaged tells that a key file has something else in it.
var ErrDamaged = errors.New("onionroute: not an hs_ed25519_secret_key file")

// Name is the onion name, I.onion.
func (id *Identity) Name() string { return id.name }

// secret makes a key for a purpose.
func (id *Identity) secret(purpose string) []byte {
	mac := hmac.New(sha256.New, id.key.PrivateKey())
	mac.Write([]byte("allium " + purpose))
	return mac.Sum(nil)
}

// LoadIdentity reads a key file as tor writes it. It refuses one that others than its
// owner can read, and one that has another name than hostname beside it says, if that is
// there, and not empty, as a power failure can leave it. The error wraps ErrNoIdentity if
// there is no key file.
func LoadIdentity(file string) (*Identity, error) {
	st, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNoIdentity, file)
	}
	if err != nil {
		return nil, fmt.Errorf("onionroute: key file: %w", err)
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("onionroute: %s can be read by others (mode %04o): who reads it can be you; chmod 600 it, and make a new identity if others have read it", file, mode)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("onionroute: key file: %w", err)
	}
	secret, ok := bytes.CutPrefix(raw, keyFileHead)
	if !ok || len(secret) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w: %s (%d octets)", ErrDamaged, file, len(raw))
	}
	id := newIdentity(secret)
	// Any 64 octets are a key: only the name tells if they are the right ones.
	name, err := os.ReadFile(nameFile(file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("onionroute: the name of the key: %w", err)
	}
	if want := strings.TrimSpace(string(name)); want != "" && want != id.name {
		return nil, fmt.Errorf("onionroute: %s is the key of %s, and not of %q, as %s says: if it was not exchanged it is damaged, restore it from your backup; if it was, delete %[4]s",
			file, id.name, want, nameFile(file))
	}
	return id, nil
}

// nameFile is where the name of a key is, as a tor keeps it.
func nameFile(keyFile string) string { return filepath.Join(filepath.Dir(keyFile), "hostname") }

// CreateIdentity makes a new key and writes it to file, with mode 0600, and its name to
// hostname beside it. It does not overwrite a key.
func CreateIdentity(file string) (*Identity, error) {
	key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("onionroute: make a key: %w", err)
	}
	id := newIdentity(key.PrivateKey())
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("onionroute: key file: %w", err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("onionroute: key file: %w", err)
	}
	_, err = f.Write(append(bytes.Clone(keyFileHead), id.key.PrivateKey()...))
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.WriteFile(nameFile(file), []byte(id.name+"\n"), 0o600)
	}
	if err != nil {
		os.Remove(file)
		return nil, fmt.Errorf("onionroute: key file: %w", err)
	}
	return id, nil
}

func newIdentity(secret []byte) *Identity {
	key := ed25519.PrivateKey(secret).KeyPair()
	return &Identity{key, torutil.OnionServiceIDFromV3PublicKey(key.PublicKey()) + ".onion"}
}

// NewName makes the name of an onion service that nobody has the key of.
func NewName() (string, error) {
	key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", fmt.Errorf("onionroute: make a key: %w", err)
	}
	return torutil.OnionServiceIDFromV3PublicKey(key.PublicKey()) + ".onion", nil
}
