package component

import (
	"bytes"
	"regexp"
	"strings"

	"mellium.im/xmpp/stream"
)

// xmlDeclaration is what stands behind "<?xml" (XML 1.0 §2.8). The encoding is in one of
// its groups.
var xmlDeclaration = regexp.MustCompile(strings.ReplaceAll(
	`^_+version_*=_*(?:"1\.0"|'1\.0')`+
		`(?:_+encoding_*=_*(?:"([A-Za-z][A-Za-z0-9.\x5f-]*)"|'([A-Za-z][A-Za-z0-9.\x5f-]*)'))?`+
		`(?:_+standalone_*=_*(?:"(?:yes|no)"|'(?:yes|no)'))?_*\?>$`, "_", `[ \t\r\n]`))

// declaration reads the XML declaration, whose "<?" was taken. Any other instruction is
// forbidden, and any encoding but UTF-8 (RFC 6120 §11.1, §11.6).
func (s *scanner) declaration() error {
	target, err := s.name()
	if err != nil {
		return err
	}
	if target.raw != "xml" {
		return errInstruction
	}
	s.text = s.text[:0]
	for !bytes.HasSuffix(s.text, []byte("?>")) {
		b, err := s.next()
		if err != nil {
			return err
		}
		s.text = append(s.text, b)
	}
	d := xmlDeclaration.FindSubmatch(s.text)
	if d == nil {
		return streamErr(stream.NotWellFormed, badDeclaration)
	}
	if encoding := string(d[1]) + string(d[2]); encoding != "" && !strings.EqualFold(encoding, "utf-8") {
		return streamErr(stream.UnsupportedEncoding, encoding)
	}
	return nil
}
