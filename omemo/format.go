package omemo

// Limits of what is taken. XEP-0384 recommends 100 one-time pre-keys and labels of less
// than 53 characters, and sets no upper limits; these are far above what clients do.
const (
	MaxPreKeys  = 500
	MaxDevices  = 256
	MaxLabelLen = 255 // in characters

	maxID = 1<<31 - 1
)

// A Format is one of the two wire formats, [Legacy] or [OMEMO2].
type Format struct {
	name      string // for people
	namespace string
	list      string // the element of a device list
	labels    bool   // devices can have labels

	// Elements of a bundle and their attributes, other than bundle and prekeys, which
	// are the same in both.
	signedPreKey, signedPreKeyID string
	signature, identityKey       string
	preKey, preKeyID             string

	prefix            []byte // what is before each key, also where it is signed
	minSignedPreKeyID uint32
	fewPreKeys        int // there should not be less

	// identityFault tells what is wrong with an identity key, "" if it is right.
	identityFault func(k *Key) string
	// signed tells if the holder of a right identity key has signed the message.
	signed func(k *Key, message []byte, s *Signature) bool

	// An identity of our own: newIdentity makes a secret, of which publicOf is the identity
	// key, and with which sign signs.
	newIdentity func() ([]byte, error)
	publicOf    func(secret []byte) Key
	sign        func(secret, message []byte) Signature
}

// String is the namespace.
func (f *Format) String() string { return f.namespace }
