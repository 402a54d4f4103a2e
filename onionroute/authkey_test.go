package onionroute

import (
	"bufio"
	"fmt"
	"net"
	"net/textproto"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cretz/bine/control"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseAuthKey(t *testing.T) {
	public, secret, err := NewAuthKeys()
	require.NoError(t, err)
	assert.NotEqual(t, public, secret)
	for _, line := range []string{secret.String(), strings.ToLower(secret.String()) + "\n", "descriptor:x25519:" + secret.String(),
		strings.TrimSuffix(testX, ".onion") + ":descriptor:x25519:" + secret.String() + "\n"} {
		k, err := ParseAuthKey(line)
		require.NoError(t, err, line)
		assert.Equal(t, secret, k)
	}
	for _, line := range []string{"", "x", secret.String()[1:], secret.String() + "A", "0" + secret.String()[1:]} {
		_, err := ParseAuthKey(line)
		assert.Error(t, err, line)
	}
}

// A tor that does not know the defence by proof of work makes the service without it;
// another refusal is one.
func TestAddOnion(t *testing.T) {
	id, err := CreateIdentity(filepath.Join(t.TempDir(), "key"))
	require.NoError(t, err)
	public, _, err := NewAuthKeys()
	require.NoError(t, err)
	s := &service{id: id, ports: map[int]string{5269: "/s"}, clients: []AuthKey{public}}
	for name, c := range map[string]struct {
		answer func(cmd string) string
		fails  bool
		tries  int
	}{
		"knows": {func(string) string { return ok(id) }, false, 1},
		"old": {func(cmd string) string {
			return map[bool]string{true: "512 Invalid argument\r\n", false: ok(id)}[strings.Contains(cmd, "PoW")]
		}, false, 2},
		"refuse": {func(string) string { return "512 Bad arguments to ADD_ONION\r\n" }, true, 2},
		"broken": {func(string) string { return "551 Internal error\r\n" }, true, 1},
		"other":  {func(string) string { return "250-ServiceID=x\r\n250 OK\r\n" }, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			ours, tors := net.Pipe()
			defer ours.Close()
			got := make(chan string, 10)
			go func() {
				for lines := bufio.NewScanner(tors); lines.Scan(); {
					got <- lines.Text()
					fmt.Fprint(tors, c.answer(lines.Text()))
				}
			}()
			err := s.addOnion(&controlConn{raw: ours, patience: time.Minute, c: control.NewConn(textproto.NewConn(ours))})
			assert.Equal(t, c.fails, err != nil, err)
			require.Len(t, got, c.tries)
			assert.Contains(t, <-got, " Flags=DiscardPK,V3Auth Port=5269,unix:/s ClientAuthV3="+public.String()+" PoWDefensesEnabled=1")
		})
	}
}

func ok(id *Identity) string {
	return "250-ServiceID=" + strings.TrimSuffix(id.Name(), ".onion") + "\r\n250 OK\r\n"
}
