package muc

import "github.com/allium-xmpp/allium/component"

// maxList bounds what reasons may make of a list, in octets. It is less than hosts take in one
// stanza (512 KiB is Prosody's limit), since a list cannot be sent in parts (XEP-0045 §9.2).
const maxList = 400_000

// addAffiliates adds a list to the answer to a request for it. Reasons are cut short where it
// would be too long with them.
func (r *room) addAffiliates(q *component.Element, level Affiliation) {
	var reasons []string
	var of []*component.Element
	for _, j := range r.withLevel(level) {
		a := r.affiliates.get(j)
		item := component.NewElement(NSAdmin, "item").With("affiliation", level.String()).With("jid", j)
		if a.nick != "" {
			item.SetAttr("nick", a.nick)
		}
		if a.reason != "" {
			reasons, of = append(reasons, a.reason), append(of, item)
		}
		q.Add(item)
	}
	for i, text := range shortReasons(reasons, maxList-len(component.AppendNodes(nil, q.Nodes))) {
		if text != "" {
			of[i].Add(component.NewElement(NSAdmin, "reason", component.Text(text)))
		}
	}
}

// reasonTags are about the octets that a reason takes beside its text.
const reasonTags = 30

// shortReasons are reasons that take no more octets in all: as they are, or each cut to its
// share.
func shortReasons(reasons []string, most int) []string {
	total := 0
	for _, text := range reasons {
		total += reasonTags + written(text)
	}
	if total <= most {
		return reasons
	}
	short := make([]string, len(reasons))
	for i, text := range reasons {
		short[i] = cut(text, most/len(reasons)-reasonTags)
	}
	return short
}

// written is the length of a text in XML.
func written(text string) int { return len(component.AppendText(nil, text)) }

// cut is a text that takes no more octets in XML, with dots where it was longer.
func cut(text string, most int) string {
	const dots = "…"
	if written(text) <= most {
		return text
	}
	n := len(dots)
	for i, c := range text {
		if n += written(string(c)); n > most {
			if i == 0 {
				return ""
			}
			return text[:i] + dots
		}
	}
	return text + dots
}
