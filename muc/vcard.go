package muc

import (
	"bytes"
	"crypto/sha1"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// vcardGet answers with the vCard of the room (XEP-0486 §3).
func (r *room) vcardGet(_ *session, s *component.Stanza) error {
	name := r.addr.Localpart()
	r.lookUp(rowLane, s.From, s, func(st *Store) (func(*room), error) {
		var xml []byte
		err := st.db.QueryRow("SELECT xml FROM vcard WHERE room = ?", name).Scan(&xml)
		if errors.Is(err, sql.ErrNoRows) {
			err = errUnknownID
		}
		return func(r *room) {
			r.sendDraft(component.NewDraft(s.Result(), xml, nil, nil), s.From)
		}, err
	})
	return nil
}

// vcardSet sets the vCard, and with it the picture, of the room (XEP-0486 §3).
func (r *room) vcardSet(_ *session, s *component.Stanza) error {
	if r.affiliation(s.From.Bare()) < Owner {
		return errForbidden
	}
	card := s.Payload()
	xml := component.AppendNodes(nil, []component.Node{card.Node()})
	if len(xml) > r.limits.VCard {
		return fail(stanza.Modify, stanza.PolicyViolation, "The vCard is too large.")
	}
	hash, err := pictureHashes(card)
	if err != nil {
		return err
	}
	r.avatar = hash
	r.change(saveVCard{Room: r.addr.Localpart(), Hash: hash, XML: bytes.Clone(xml)})
	r.result(s)
	r.tellCodes([]int{104})
	return nil
}

// pictureHashes are the hashes of all pictures in a vCard, with a blank between them
// (XEP-0486 §5.1).
func pictureHashes(card *component.Element) (string, error) {
	var hashes []string
	for _, n := range card.Nodes {
		if n.Element == nil || !n.Element.Is(NSVCard, "PHOTO") {
			continue
		}
		data := strings.Join(strings.Fields(n.Element.Child(NSVCard, "BINVAL").Text()), "")
		if data == "" {
			continue
		}
		picture, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return "", errBadRequest
		}
		sum := sha1.Sum(picture) // what XEP-0153 asks for
		hashes = append(hashes, hex.EncodeToString(sum[:]))
	}
	return strings.Join(hashes, " "), nil
}
