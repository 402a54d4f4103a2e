package omemo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"mellium.im/xmpp/jid"
)

// What an audit finds wrong.
const (
	auditPreKeys = 10                  // fewer one-time pre-keys in a bundle
	auditAge     = 30 * 24 * time.Hour // a longer time since its owner's server was heard of it
)

// Audited is what is known of one device, or, of device 0, of a user.
type Audited struct {
	Owner   jid.JID // bare, as the host sees it
	Format  *Format // nil where nothing is kept
	Device  uint32
	PreKeys int       // one-time, in the bundle that is kept
	Read    time.Time // when its owner's server was heard of it last; zero if nothing is kept
	Faults  []string  // what is wrong: others may be unable to write to it
	Notes   []string  // what is not wrong, but worth to know
}

// AuditColumns are the names of what Audited.Columns has.
var AuditColumns = []string{"address", "format", "device", "pre-keys", "last read", "findings"}

// Columns is what is known, for people.
func (a *Audited) Columns() []string {
	c := []string{a.Owner.String(), "-", "-", "-", "-", "ok"}
	if a.Format != nil {
		c[1] = a.Format.name
	}
	if a.Device != 0 {
		c[2], c[3] = formatID(a.Device), strconv.Itoa(a.PreKeys)
	}
	if !a.Read.IsZero() {
		c[4] = a.Read.UTC().Format(time.DateOnly)
	}
	if found := slices.Concat(a.Faults, a.Notes); len(found) > 0 {
		c[5] = strings.Join(found, "; ")
	}
	return c
}

// Audit tells of the devices that the file of a directory has, sorted by their owners,
// or of those of the owners that are given. It verifies all once more. It changes nothing,
// and a Directory may be using the file. Where there is no file, nothing is kept. local tells
// of the users of the host, which has all of their keys: what of them nobody has asked for, or
// not for long, is no fault.
func Audit(ctx context.Context, file string, local func(jid.JID) bool, owners ...jid.JID) ([]Audited, error) {
	all, err := auditFile(ctx, file, local, owners)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("omemo: %s: %w", file, err)
	}
	for _, o := range owners {
		if !slices.ContainsFunc(all, func(a Audited) bool { return a.Owner.Equal(o.Bare()) }) {
			all = append(all, Audited{Owner: o.Bare(), Faults: []string{"no keys are kept: nobody has asked for them, or they were wrong"}})
		}
	}
	return all, nil
}

// auditFile audits owner by owner, so that not all is in memory at once.
func auditFile(ctx context.Context, file string, local func(jid.JID) bool, owners []jid.JID) (all []Audited, err error) {
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	db, err := storeSchema.OpenReadOnly(file)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `SELECT owner.jid, asked, format, device, item, xml, fetched FROM owner JOIN item ON item.owner = owner.id
		ORDER BY owner.jid, format, device`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var of auditOf
	for rows.Next() {
		var owner, space string
		var asked bool
		var it auditItem
		var xml sql.RawBytes
		var read int64
		if err := rows.Scan(&owner, &asked, &space, &it.device, &it.id, &xml, &read); err != nil {
			return nil, err
		}
		if len(owners) > 0 && !slices.ContainsFunc(owners, func(o jid.JID) bool { return o.Bare().String() == owner }) {
			continue
		}
		if of.owner.String() != owner {
			all = of.add(all)
			of = auditOf{asked: asked}
			if of.owner, err = jid.Parse(owner); err != nil {
				return nil, err
			}
			of.local = local(of.owner)
		}
		for _, f := range []*Format{Legacy, OMEMO2} {
			if f.namespace == space {
				n := node{format: f, bundles: it.device > 0, device: it.device}
				it.find, it.err = n.again(it.find, xml)
				it.format, it.read = f, time.Unix(read, 0)
				of.items = append(of.items, it)
			}
		}
	}
	return of.add(all), rows.Err()
}

// An auditItem is a list or a bundle, and what is wrong with it.
type auditItem struct {
	find
	err  error
	read time.Time
}

// An auditOf is what is kept of one owner, the lists before the bundles of their format.
type auditOf struct {
	owner jid.JID
	local bool
	asked bool // somebody has asked for keys
	items []auditItem
}

// add adds what there is to tell.
func (of *auditOf) add(all []Audited) []Audited {
	var formats [][]Audited
	for _, f := range []*Format{Legacy, OMEMO2} {
		if devices := of.devices(f); devices != nil {
			formats = append(formats, devices)
		}
	}
	if len(formats) == 1 {
		for i := range formats[0] {
			formats[0][i].Notes = append(formats[0][i].Notes, "only this format")
		}
	}
	return append(all, slices.Concat(formats...)...)
}

// devices are those of one format: what is on the list, and what is not.
func (of *auditOf) devices(f *Format) (all []Audited) {
	list := Audited{Owner: of.owner, Format: f, Faults: []string{"no device list"}}
	if of.local {
		list.Faults, list.Notes = nil, []string{"no device list: nobody has asked for it"}
	}
	var listed *DeviceList
	bundles := map[uint32]auditItem{}
	for _, it := range of.items {
		switch {
		case it.format != f:
		case it.device > 0:
			bundles[it.device] = it
		default:
			listed, list.Faults, list.Notes = it.list, nil, nil
			list.read(&it, of.local)
		}
	}
	if listed == nil && list.Read.IsZero() && len(bundles) == 0 {
		return nil
	}
	if listed != nil && len(listed.Devices) == 0 {
		list.Notes = []string{"no devices: does not use it any more"}
	}
	if len(list.Faults)+len(list.Notes) > 0 {
		all = append(all, list)
	}
	if listed != nil {
		for _, d := range listed.Devices {
			a := Audited{Owner: of.owner, Format: f, Device: d.ID}
			if it, ok := bundles[d.ID]; ok {
				a.bundle(&it, of.local)
			} else if of.local {
				a.Notes = []string{"no bundle: nobody has asked for it"}
			} else if of.asked {
				a.Faults = []string{"no bundle"}
			} else {
				a.Notes = []string{"no bundle, and nobody has asked for keys"}
			}
			delete(bundles, d.ID)
			all = append(all, a)
		}
	}
	for _, device := range slices.Sorted(maps.Keys(bundles)) {
		it := bundles[device]
		a := Audited{Owner: of.owner, Format: f, Device: device}
		a.bundle(&it, of.local)
		if listed != nil {
			a.Faults = append(a.Faults, "not on the device list")
		}
		all = append(all, a)
	}
	return all
}

func (a *Audited) bundle(it *auditItem, local bool) {
	a.read(it, local)
	if it.bundle == nil {
		return
	}
	a.PreKeys = len(it.bundle.PreKeys)
	if a.PreKeys < auditPreKeys {
		a.Faults = append(a.Faults, fmt.Sprintf("few one-time pre-keys: fewer than %d", auditPreKeys))
	}
}

// read tells of what is kept, as it was read last.
func (a *Audited) read(it *auditItem, local bool) {
	a.Read = it.read
	if bad := new(Error); errors.As(it.err, &bad) {
		a.Faults = append(a.Faults, bad.Fault)
	}
	if time.Since(it.read) <= auditAge {
		return
	}
	days := auditAge / (24 * time.Hour)
	if local {
		a.Notes = append(a.Notes, fmt.Sprintf("nobody has asked for it for more than %d days", days))
	} else {
		a.Faults = append(a.Faults, fmt.Sprintf("not renewed for more than %d days", days))
	}
}
