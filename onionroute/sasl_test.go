package onionroute

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/sasl"

	"github.com/allium-xmpp/allium/component"
)

// The examples of XEP-0178, and an authorization identity.
func TestExternalAuth(t *testing.T) {
	for authzid, text := range map[string]string{"": "=", "juliet@example.com": "anVsaWV0QGV4YW1wbGUuY29t"} {
		e := externalAuth(authzid)
		assert.True(t, e.Is(nsSASL, "auth"))
		assert.Equal(t, "EXTERNAL", e.AttrValue("mechanism"))
		assert.Equal(t, text, e.Text())
		back, err := externalAuthzid(e)
		require.NoError(t, err)
		assert.Equal(t, authzid, back)
	}
}

func TestExternalAuthRefused(t *testing.T) {
	auth := func(mechanism, text string) *component.Element {
		return component.NewElement(nsSASL, "auth", component.Text(text)).With("mechanism", mechanism)
	}
	for _, test := range []struct {
		auth *component.Element
		want saslFailure
	}{
		{auth("PLAIN", "="), invalidMechanism},
		{auth("external", "="), invalidMechanism},
		{component.NewElement(nsSASL, "auth", component.Text("=")), invalidMechanism},
		{auth("EXTERNAL", ""), malformedRequest},
		{auth("EXTERNAL", "eA=").Add(component.NewElement("urn:x", "x")), malformedRequest},
		{auth("EXTERNAL", "eA=="), ""},
		{auth("EXTERNAL", "eA="), incorrectEncoding},
		{auth("EXTERNAL", "eB=="), incorrectEncoding}, // bits left over
		{auth("EXTERNAL", "=="), incorrectEncoding},
		{auth("EXTERNAL", " ="), incorrectEncoding},
		{auth("EXTERNAL", "eA==\n"), incorrectEncoding},
		{auth("EXTERNAL", "e\r\nA=="), incorrectEncoding},
		{auth("EXTERNAL", "e-_="), incorrectEncoding},
		{auth("EXTERNAL", "eAB5"), malformedRequest}, // x, NUL, y
		{auth("EXTERNAL", "/w=="), malformedRequest}, // no UTF-8
	} {
		_, err := externalAuthzid(test.auth)
		if test.want == "" {
			assert.NoError(t, err, test.auth)
			continue
		}
		assert.Equal(t, test.want, err, test.auth)
		assert.NotNil(t, test.want.element().Child(nsSASL, string(test.want)))
	}
}

// The mechanism in both roles of mellium's negotiator: one message, and a decision.
func TestExternalMechanism(t *testing.T) {
	for authzid, allowed := range map[string]bool{"a.example": true, "": true, "b.example": false} {
		client := sasl.NewClient(external, sasl.Credentials(func() (_, _, identity []byte) { return nil, nil, []byte(authzid) }))
		more, resp, err := client.Step(nil)
		require.NoError(t, err)
		assert.False(t, more)
		assert.Equal(t, authzid, string(resp))

		server := sasl.NewServer(external, func(n *sasl.Negotiator) bool {
			_, _, identity := n.Credentials()
			return string(identity) == "a.example" || len(identity) == 0
		})
		more, challenge, err := server.Step(resp)
		assert.False(t, more)
		assert.Empty(t, challenge)
		if !allowed {
			assert.Equal(t, sasl.ErrAuthn, err)
			continue
		}
		require.NoError(t, err)
		_, _, err = server.Step(resp)
		assert.Equal(t, sasl.ErrTooManySteps, err)
		_, _, err = client.Step([]byte("more"))
		assert.Equal(t, sasl.ErrTooManySteps, err)
	}
	_, _, err := sasl.NewServer(external, nil).Step(nil)
	assert.Equal(t, sasl.ErrAuthn, err, "nobody decides")
}
