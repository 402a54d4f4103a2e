package omemo

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// What python-oldmemo and python-twomemo make is right here, and means the same to them
// when it has been read and written here; as do the files that they made once.
func TestFromPython(t *testing.T) {
	fresh := t.TempDir()
	made := python(t, "make", fresh)
	for folder, meaning := range map[string]map[string]any{
		fresh:      made,
		"testdata": python(t, "check", "testdata"),
	} {
		again := t.TempDir()
		for name, f := range formats {
			b, err := f.ParseBundle(load(t, folder, name+"-bundle"))
			require.NoError(t, err)
			assert.Len(t, b.PreKeys, 25)
			assert.Empty(t, b.Warnings())
			l, err := f.ParseDevices(load(t, folder, name+"-devices"))
			require.NoError(t, err)
			l.VerifyLabels(func(uint32) (Key, bool) { return b.IdentityKey, true })
			assert.Equal(t, f.labels, l.Devices[0].Label != "", "signed by python-xeddsa")
			save(t, again, name+"-bundle", b.Element())
			save(t, again, name+"-devices", l.Element())
		}
		assert.Equal(t, meaning, python(t, "check", again))
	}
}

// With what was made here python-oldmemo and python-twomemo begin sessions, and they
// refuse what is refused here.
func TestToPython(t *testing.T) {
	good, bad := t.TempDir(), t.TempDir()
	const label = "Jülia's \"phone\" & 👩‍💻"
	for name, f := range formats {
		identity := newSigner(t, f)
		b := newBundle(t, f, identity, 100)
		require.NoError(t, b.Verify())
		l := &DeviceList{f, []Device{{ID: maxID}, {ID: 1}}}
		if f.labels {
			l.Devices[1].Label, l.Devices[1].LabelSignature = label, identity.sign([]byte(label))
		}
		require.NoError(t, l.Verify())
		save(t, good, name+"-bundle", b.Element())
		save(t, good, name+"-devices", l.Element())

		b.Signature[32] ^= 1
		require.Error(t, b.Verify())
		save(t, bad, name+"-bundle", b.Element())
		save(t, bad, name+"-devices", l.Element())
	}
	meaning := python(t, "check", good)
	for name := range formats {
		m := meaning[name].(map[string]any)
		assert.Len(t, m["bundle"].(map[string]any)["preKeys"], 100, name)
		assert.Equal(t, []any{float64(maxID), 1.}, m["devices"], name)
		assert.NotContains(t, m, "refused", name)
	}
	assert.Equal(t, map[string]any{"1": label}, meaning["omemo2"].(map[string]any)["labels"])
	for name, m := range python(t, "check", bad) {
		assert.Equal(t, "The signature of the signed pre key could not be verified.", m.(map[string]any)["refused"], name)
	}
}

// python runs testdata/peer.py, by the python that has Debian's packages.
func python(t *testing.T, command, folder string) map[string]any {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", "-B", filepath.Join("testdata", "peer.py"), command, folder)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	var meaning map[string]any
	require.NoError(t, json.Unmarshal(out, &meaning))
	require.Len(t, meaning, len(formats))
	return meaning
}

func save(t *testing.T, folder, name string, e *component.Element) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(folder, name+".xml"), e.AppendXML(nil, component.NSClient), 0o600))
}
