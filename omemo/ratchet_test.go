package omemo

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ratchets are the two ends of a session: of who began it, and of the other one.
func ratchets(t testing.TB) (first, second *ratchet) {
	t.Helper()
	secret, err := newSecret()
	require.NoError(t, err)
	public := publicKey(secret)
	first = &ratchet{Root: make([]byte, 32), Associated: []byte("both"), Peer: public[:]}
	first.Own, err = newSecret()
	require.NoError(t, err)
	require.NoError(t, first.begin(&first.Sending))
	return first, &ratchet{Root: make([]byte, 32), Associated: []byte("both"), Own: secret}
}

// again is a ratchet as it is read from the file.
func (r *ratchet) again(t testing.TB) *ratchet {
	t.Helper()
	record, err := json.Marshal(r)
	require.NoError(t, err)
	require.LessOrEqual(t, len(record), maxSessionBytes)
	var out *ratchet
	require.NoError(t, json.Unmarshal(record, &out))
	return out
}

// sends is a message of one end, as it comes to the other.
func (r *ratchet) sends(t testing.TB, text string) *authenticated {
	t.Helper()
	m, err := r.seal([]byte(text))
	require.NoError(t, err)
	m, err = parseAuthenticated(m.encode())
	require.NoError(t, err)
	return m
}

// Whoever writes when, and in whatever order that comes, each message is read once.
func TestRatchet(t *testing.T) {
	type sent struct {
		to   int
		text string
		m    *authenticated
	}
	for seed := range uint64(5) {
		random := rand.New(rand.NewPCG(seed, 1))
		first, second := ratchets(t)
		ends := []*ratchet{first, second}
		var waiting, read []sent
		for i := range 200 {
			from := random.IntN(2)
			if from == 1 && second.Sending.Key == nil {
				from = 0 // it has not heard of the session yet
			}
			text := fmt.Sprintf("message %d", i)
			waiting = append(waiting, sent{1 - from, text, ends[from].sends(t, text)})
			for len(waiting) > 0 && random.IntN(3) > 0 {
				j := random.IntN(len(waiting))
				s := waiting[j]
				waiting = append(waiting[:j], waiting[j+1:]...)
				got, err := ends[s.to].open(s.m)
				require.NoError(t, err, "seed %d", seed)
				require.Equal(t, s.text, string(got))
				read = append(read, s)
			}
			ends[from] = ends[from].again(t)
		}
		for _, s := range read {
			_, err := ends[s.to].again(t).open(s.m)
			require.Error(t, err)
		}
	}
}

// Keys are kept for 1000 messages that did not come, the newest ones. A message before which
// more did not come is refused, and makes no work.
func TestRatchetSkipped(t *testing.T) {
	first, second := ratchets(t)
	opens := func(m *authenticated) error {
		next := second.again(t)
		_, err := next.open(m)
		if err == nil {
			second = next.again(t)
		}
		return err
	}
	require.NoError(t, opens(first.sends(t, "")))
	var messages []*authenticated
	for range 2 * maxSkipped {
		messages = append(messages, first.sends(t, ""))
	}
	assert.ErrorContains(t, opens(messages[maxSkipped+1]), "too many")
	require.NoError(t, opens(messages[maxSkipped]))
	assert.Len(t, second.Skipped, maxSkipped)
	require.NoError(t, opens(messages[0]))
	require.NoError(t, opens(messages[2*maxSkipped-1]))
	assert.Len(t, second.Skipped, maxSkipped)
	assert.ErrorContains(t, opens(messages[maxSkipped-3]), "too late", "it was the oldest")
	require.NoError(t, opens(messages[maxSkipped-2]))
	require.NoError(t, opens(messages[maxSkipped+1]))

	m := first.sends(t, "")
	m.message.n = math.MaxUint32
	assert.ErrorContains(t, opens(m), "too many")
	m.message.key, m.message.previous = newKey(t), math.MaxUint32
	assert.ErrorContains(t, opens(m), "too many")
}

// The key of a message that did not come is forgotten after the ratchet has turned often.
func TestRatchetForgets(t *testing.T) {
	first, second := ratchets(t)
	early, late := first.sends(t, ""), first.sends(t, "")
	turn := func() {
		for _, pair := range [][2]*ratchet{{first, second}, {second, first}} {
			_, err := pair[1].open(pair[0].sends(t, ""))
			require.NoError(t, err)
		}
	}
	turn()
	for range maxSkippedTurns {
		turn()
	}
	_, err := second.again(t).open(early)
	require.NoError(t, err)
	turn()
	_, err = second.open(late)
	assert.Error(t, err)
}

// What is not whole blocks, or not padded, is an error.
func TestCBC(t *testing.T) {
	c, err := newCBC([]byte("secret"), "info")
	require.NoError(t, err)
	for n := range 50 {
		sealed, err := c.seal(make([]byte, n))
		require.NoError(t, err)
		plain, err := c.open(sealed)
		require.NoError(t, err)
		assert.Equal(t, make([]byte, n), plain)
		_, err = c.open(sealed[:len(sealed)-1])
		assert.Error(t, err)
	}
	for _, in := range [][]byte{nil, make([]byte, 16)} {
		_, err := c.open(in)
		assert.Error(t, err)
	}
}
