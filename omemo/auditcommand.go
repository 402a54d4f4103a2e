package omemo

import (
	"fmt"
	"slices"
	"strings"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// maxAuditRows are as many as an ad-hoc command answers, so that the answer is no larger
// than what a host takes.
const maxAuditRows = 100

// AuditCommand is an audit as an ad-hoc command (XEP-0050), for those who may. typed reads an
// address as people type it. The answer goes to the host's side.
func (d *Directory) AuditCommand(may func(jid.JID) bool, typed func(string) (jid.JID, error)) component.Command {
	return component.Command{Node: "urn:allium:omemo#audit", Name: "Audit of OMEMO keys", May: may,
		Do: func(c *component.Call) (*component.Reply, error) {
			if c.Form() == nil {
				return &component.Reply{Form: &component.Form{Type: "form", FormType: "urn:allium:omemo", Title: "Audit of OMEMO keys",
					Instructions: "Whose devices? With no address, all devices are looked at, and those are listed that something is wrong with.",
					Fields:       []component.Field{{Var: "addresses", Type: "text-multi", Label: "Addresses, one in a line"}}}}, nil
			}
			var owners []jid.JID
			values, _ := c.Form().Values("addresses")
			for _, v := range values {
				if strings.TrimSpace(v) == "" {
					continue // the last line of a client's field
				}
				j, err := typed(v)
				if err != nil {
					return nil, component.BadPayload("One of these is not an address.")
				}
				owners = append(owners, j)
			}
			d.audit(c, owners)
			return nil, nil
		}}
}

// audit answers a call later: to verify all that is kept can take seconds.
func (d *Directory) audit(c *component.Call, owners []jid.JID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.wg.Go(func() {
		all, err := Audit(d.ctx, d.file, d.o.Local, owners...)
		if err != nil {
			d.o.Log.Error("the keys cannot be audited", "error", err)
			d.later(hostSide, c.Request.Error(component.NewError(stanza.Wait, stanza.InternalServerError, "The keys cannot be read.")))
			return
		}
		d.later(hostSide, c.Answer(auditReply(all, len(owners) == 0)))
	})
}

// auditReply is what an audit found, or only what is wrong.
func auditReply(all []Audited, onlyFaults bool) *component.Reply {
	r := &component.Reply{Note: AuditSummary(all)}
	if onlyFaults {
		all = slices.DeleteFunc(all, func(a Audited) bool { return len(a.Faults) == 0 })
	}
	if len(all) > maxAuditRows {
		all = all[:maxAuditRows]
		r.Note += fmt.Sprintf(" These are the first %d.", maxAuditRows)
	}
	if len(all) == 0 {
		return r
	}
	r.Form = &component.Form{Type: "result", FormType: "urn:allium:omemo", Title: "Audit of OMEMO keys"}
	for _, name := range AuditColumns {
		r.Form.Reported = append(r.Form.Reported, component.Field{Var: name, Type: "text-single", Label: name})
	}
	for i := range all {
		r.Form.Items = append(r.Form.Items, all[i].Columns())
	}
	return r
}

// AuditSummary says in a sentence what an audit found.
func AuditSummary(all []Audited) string {
	if len(all) == 0 {
		return "No keys are kept."
	}
	wrong := 0
	for i := range all {
		if len(all[i].Faults) > 0 {
			wrong++
		}
	}
	if wrong == 0 {
		return "Nothing is wrong."
	}
	return fmt.Sprintf("Something is wrong with %d of %d.", wrong, len(all))
}
