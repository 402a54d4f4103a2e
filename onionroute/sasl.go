package onionroute

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"mellium.im/sasl"

	"github.com/allium-xmpp/allium/component"
)

const nsSASL = "urn:ietf:params:xml:ns:xmpp-sasl" // RFC 6120 §6

// external is the mechanism EXTERNAL (RFC 4422 appendix A), for both roles: the
// certificate, which is not SASL's business, says who the client is, and the only
// message says as whom it wants to act: its domain (XEP-0178 §3), or nothing, for the
// one that it said before. It is the Identity of the negotiator's Credentials. The
// server's Permissions decides if the certificate allows that.
var external = sasl.Mechanism{
	Name: "EXTERNAL",
	Start: func(n *sasl.Negotiator) (more bool, resp []byte, cache any, err error) {
		_, _, authzid := n.Credentials()
		return false, authzid, nil, nil
	},
	Next: func(n *sasl.Negotiator, authzid []byte, _ any) (more bool, resp []byte, cache any, err error) {
		if n.State()&sasl.Receiving == 0 || n.State()&sasl.StepMask != sasl.AuthTextSent {
			return false, nil, nil, sasl.ErrTooManySteps
		}
		who := func() (_, _, identity []byte) { return nil, nil, authzid }
		if !n.Permissions(sasl.Credentials(who)) {
			return false, nil, nil, sasl.ErrAuthn
		}
		return false, nil, nil, nil
	},
}

// A saslFailure is a condition of RFC 6120 §6.5.
type saslFailure string

const (
	incorrectEncoding saslFailure = "incorrect-encoding"
	invalidMechanism  saslFailure = "invalid-mechanism"
	malformedRequest  saslFailure = "malformed-request"
	invalidAuthzid    saslFailure = "invalid-authzid"
	notAuthorized     saslFailure = "not-authorized"
)

func (f saslFailure) Error() string { return "onionroute: SASL: " + string(f) }

// element is the failure as it is sent: the condition alone.
func (f saslFailure) element() *component.Element {
	return component.NewElement(nsSASL, "failure", component.NewElement(nsSASL, string(f)).Node())
}

// externalAuth is the request of EXTERNAL, with the first and only response in it.
func externalAuth(authzid string) *component.Element {
	text := "=" // the response is there, and empty (RFC 6120 §6.4.2)
	if authzid != "" {
		text = base64.StdEncoding.EncodeToString([]byte(authzid))
	}
	return component.NewElement(nsSASL, "auth", component.Text(text)).With("mechanism", external.Name)
}

// externalAuthzid reads such a request. The error is a saslFailure. A request without a
// response is one as well: to ask for it costs a round trip that nobody needs.
func externalAuthzid(auth *component.Element) (string, error) {
	if auth.AttrValue("mechanism") != external.Name {
		return "", invalidMechanism
	}
	text := auth.Text()
	for _, n := range auth.Nodes {
		if n.Element != nil {
			return "", malformedRequest
		}
	}
	switch text {
	case "":
		return "", malformedRequest
	case "=":
		return "", nil
	}
	// Go's decoder lets line breaks pass, which RFC 6120 §13.9.1 does not.
	authzid, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return "", incorrectEncoding
	}
	if !utf8.Valid(authzid) || strings.ContainsRune(string(authzid), 0) { // RFC 4422 appendix A.1
		return "", malformedRequest
	}
	return string(authzid), nil
}
