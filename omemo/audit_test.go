package omemo

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// audited is a directory in which something is wrong with most of what it keeps.
func audited(t *testing.T) *world {
	w := newWorld(t)
	w.knows(alice, bob, NodeLegacyDevices, "current", list(Legacy, 1, 2, 3, 4))
	for device, preKeys := range map[uint32]int{1: 100, 2: 9, 4: 50} {
		w.knows(alice, bob, Legacy.nodeFor(device), "x", newBundle(t, Legacy, newSigner(t, Legacy), preKeys).Element())
	}
	w.knows(alice, bob, NodeOMEMO2Devices, "current", list(OMEMO2, 5))
	w.knows(alice, bob, NodeOMEMO2Bundles, "5", newBundle(t, OMEMO2, newSigner(t, OMEMO2), 100).Element())
	require.NoError(t, w.says(hostSide, event("alice@example.org", bob, "items", NodeLegacyDevices, "<item id='current'>"+list(Legacy, 7).String()+"</item>")))
	w.gets(peerSide)
	w.knows(alice, eve, NodeOMEMO2Devices, "current", list(OMEMO2))

	// A disk that is damaged, and time that has gone by.
	wrong := newBundle(t, Legacy, newSigner(t, Legacy), 100)
	wrong.Signature[7] ^= 1
	w.store.queue(func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE item SET xml = ? WHERE device = 4", wrong.Element().AppendXML(nil, component.NSClient))
		if err == nil {
			_, err = tx.Exec("UPDATE item SET fetched = ? WHERE device = 5", time.Now().Add(-31*24*time.Hour).Unix())
		}
		return err
	}, nil)
	w.sync()
	return w
}

func findings(all []Audited) (rows []string) {
	today := time.Now().UTC().Format(time.DateOnly)
	for i := range all {
		c := all[i].Columns()
		if c[4] == today {
			c[4] = "today"
		}
		rows = append(rows, strings.Join(c, "|"))
	}
	return rows
}

func isLocal(j jid.JID) bool { return j.Domainpart() == "example.org" }

// Of a user of the host, whose server is here, nothing is missing that nobody has asked for.
func TestAuditOfLocalUsers(t *testing.T) {
	w := newWorld(t)
	const owner = "alice@example.org"
	w.knows(bobAt, owner, NodeLegacyDevices, current, list(Legacy, 1, 2))
	w.knows(bobAt, owner, Legacy.nodeFor(1), current, newBundle(t, Legacy, newSigner(t, Legacy), 100).Element())
	w.knows(bobAt, owner, NodeOMEMO2Bundles, "3", newBundle(t, OMEMO2, newSigner(t, OMEMO2), 9).Element())
	w.shift(-31 * 24 * time.Hour)
	w.sync()
	old := time.Now().Add(-31 * 24 * time.Hour).UTC().Format(time.DateOnly)
	all, err := Audit(t.Context(), w.file, isLocal)
	require.NoError(t, err)
	assert.Equal(t, []string{
		owner + "|legacy|-|-|" + old + "|nobody has asked for it for more than 30 days",
		owner + "|legacy|1|100|" + old + "|nobody has asked for it for more than 30 days",
		owner + "|legacy|2|0|-|no bundle: nobody has asked for it",
		owner + "|omemo:2|-|-|-|no device list: nobody has asked for it",
		owner + "|omemo:2|3|9|" + old + "|few one-time pre-keys: fewer than 10; nobody has asked for it for more than 30 days",
	}, findings(all))
	assert.Equal(t, "Something is wrong with 1 of 5.", AuditSummary(all))
}

// An audit finds what is wrong, in a file that is in use, and in one that is not.
func TestAudit(t *testing.T) {
	w := audited(t)
	old := time.Now().Add(-31 * 24 * time.Hour).UTC().Format(time.DateOnly)
	bobs := []string{
		bob + "|legacy|1|100|today|ok",
		bob + "|legacy|2|9|today|few one-time pre-keys: fewer than 10",
		bob + "|legacy|3|0|-|no bundle",
		bob + "|legacy|4|0|today|device 4: signedPreKeySignature is not by identityKey",
		bob + "|omemo:2|5|100|" + old + "|not renewed for more than 30 days",
	}
	want := append([]string{"alice@example.org|legacy|7|0|-|no bundle: nobody has asked for it; only this format"}, bobs...)
	want = append(want, eve+"|omemo:2|-|-|today|no devices: does not use it any more; only this format")
	check := func() {
		all, err := Audit(t.Context(), w.file, isLocal)
		require.NoError(t, err)
		assert.Equal(t, want, findings(all))
		assert.Equal(t, "Something is wrong with 4 of 7.", AuditSummary(all))
		all, err = Audit(t.Context(), w.file, isLocal, jid.MustParse(bobAt), jid.MustParse(carol))
		require.NoError(t, err)
		assert.Equal(t, append(bobs, carol+"|-|-|-|-|no keys are kept: nobody has asked for them, or they were wrong"), findings(all))
	}
	check()
	w.close()
	check()
	all, err := Audit(t.Context(), filepath.Join(t.TempDir(), "none"), isLocal)
	require.NoError(t, err)
	assert.Equal(t, "No keys are kept.", AuditSummary(all))
}

// Who may audits by an ad-hoc command, and nobody else.
func TestAuditCommand(t *testing.T) {
	w := audited(t)
	sv := component.NewService(sender(w.end(hostSide)))
	typed := func(s string) (jid.JID, error) {
		if s == "xmpp:bob" {
			s = bob
		}
		return jid.Parse(s)
	}
	sv.Command(w.AuditCommand(func(from jid.JID) bool { return from.Equal(jid.MustParse(alice)) }, typed))
	run := func(from string, addresses ...string) *component.Stanza {
		form := ""
		for _, a := range addresses {
			form += "<value>" + a + "</value>"
		}
		s := stanzaOf(t, "<iq xmlns='jabber:client' type='set' id='c' from='"+from+"' to='onion.example.org'><command xmlns='"+component.NSCommands+
			"' node='urn:allium:omemo#audit'><x xmlns='jabber:x:data' type='submit'><field var='addresses'>"+form+"</field></x></command></iq>")
		require.NoError(t, sv.HandleStanza(t.Context(), s))
		return w.gets(hostSide)
	}
	asked := stanzaOf(t, "<iq xmlns='jabber:client' type='set' id='c' from='"+alice+"' to='onion.example.org'><command xmlns='"+component.NSCommands+"' node='urn:allium:omemo#audit'/></iq>")
	require.NoError(t, sv.HandleStanza(t.Context(), asked))
	assert.Contains(t, w.gets(hostSide).String(), "text-multi")

	all := run(alice)
	assert.Equal(t, alice, all.To.String())
	assert.Contains(t, all.String(), "Something is wrong with 4 of 7.")
	rows := func(s *component.Stanza) int { return strings.Count(s.String(), "<item>") }
	assert.Equal(t, 4, rows(all), "only what is wrong")
	bobs := run(alice, "xmpp:bob", "")
	assert.Equal(t, 5, rows(bobs))
	assert.Contains(t, bobs.String(), "<value>device 4: signedPreKeySignature is not by identityKey</value>")
	assert.Equal(t, stanza.BadRequest, run(alice, "@").StanzaError().Condition)
	assert.Equal(t, stanza.Forbidden, run(carol).StanzaError().Condition)

	var many []string
	for i := range maxAuditRows + 1 {
		many = append(many, fmt.Sprintf("nobody%d@example.org", i))
	}
	bounded := run(alice, many...)
	assert.Equal(t, maxAuditRows, rows(bounded))
	assert.Contains(t, bounded.String(), "These are the first 100.")
}
