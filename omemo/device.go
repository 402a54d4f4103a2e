package omemo

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/allium-xmpp/allium/component"
)

// A Device is one entry of a device list.
type Device struct {
	ID uint32
	// Label is what its user calls it, "" if nothing; only in OMEMO2. It is a claim until
	// VerifyLabels has been called.
	Label          string
	LabelSignature Signature // of Label, by the device's identity key
}

// A DeviceList is the devices of an account that can read OMEMO. It can be empty, for
// somebody who does not use OMEMO any more.
type DeviceList struct {
	Format  *Format
	Devices []Device // in the order in which they are written
}

// ParseDevices reads and verifies a device list, the payload of an item of pubsub (nil
// where there is none). The error is an [*Error].
//
// Labels without a signature are left out, as XEP-0384 §5.3.1 wants it, and so is what the
// XEP does not know of.
func (f *Format) ParseDevices(e *component.Element) (*DeviceList, error) {
	if e == nil || !e.Is(f.namespace, f.list) {
		return nil, refuse("not a device list of %s", f)
	}
	l := &DeviceList{Format: f, Devices: make([]Device, 0, min(len(e.Nodes), MaxDevices))}
	for _, n := range e.Nodes {
		if n.Element == nil || !n.Element.Is(f.namespace, "device") {
			continue
		}
		if len(l.Devices) == MaxDevices {
			return nil, tooMany("devices", MaxDevices)
		}
		d, err := f.device(n.Element)
		if err != nil {
			return nil, err
		}
		l.Devices = append(l.Devices, d)
	}
	if err := l.Verify(); err != nil {
		return nil, err
	}
	return l, nil
}

func (f *Format) device(e *component.Element) (Device, error) {
	id, err := parseID(e, "id", 1)
	d := Device{ID: id}
	if err != nil || !f.labels {
		return d, err
	}
	label := e.AttrValue("label")
	if fault := labelFault(label); fault != "" {
		return d, refuse("the label of device %d %s", id, fault)
	}
	if label != "" && decode(d.LabelSignature[:], e.AttrValue("labelsig")) == "" {
		d.Label = label
	}
	return d, nil
}

// Verify checks a list as ParseDevices does. The error is an [*Error].
func (l *DeviceList) Verify() error {
	if len(l.Devices) > MaxDevices {
		return tooMany("devices", MaxDevices)
	}
	ids := make([]uint32, len(l.Devices))
	for i := range l.Devices {
		d := &l.Devices[i]
		fault := labelFault(d.Label)
		if d.Label != "" && !l.Format.labels {
			fault = "is not of " + l.Format.namespace
		}
		if fault != "" {
			return refuse("the label of device %d %s", d.ID, fault)
		}
		ids[i] = d.ID
	}
	return checkIDs("device", ids)
}

// VerifyLabels takes away each label that the device has not signed. identity gives the
// identity key of a device's verified bundle, and false where there is none: the label
// of such a device is taken away too.
func (l *DeviceList) VerifyLabels(identity func(id uint32) (Key, bool)) {
	for i := range l.Devices {
		d := &l.Devices[i]
		if d.Label == "" {
			continue
		}
		if k, ok := identity(d.ID); !ok || !l.Format.signed(&k, []byte(d.Label), &d.LabelSignature) {
			d.Label, d.LabelSignature = "", Signature{}
		}
	}
}

// Element is the list as it is published. ParseDevices reads an equal one from it.
func (l *DeviceList) Element() *component.Element {
	e := component.NewElement(l.Format.namespace, l.Format.list)
	for i := range l.Devices {
		d := &l.Devices[i]
		c := component.NewElement(l.Format.namespace, "device").With("id", formatID(d.ID))
		if d.Label != "" {
			c.With("label", d.Label).With("labelsig", base64.StdEncoding.EncodeToString(d.LabelSignature[:]))
		}
		e.Add(c)
	}
	return e
}

// labelFault tells what is wrong with a label, "" if it is right. No client should read
// labels as HTML; what looks like it is refused lest one does.
func labelFault(label string) string {
	switch {
	case !utf8.ValidString(label):
		return "is not UTF-8"
	case utf8.RuneCountInString(label) > MaxLabelLen:
		return "is too long"
	case strings.ContainsRune(label, '<'):
		return "has markup in it"
	case strings.ContainsFunc(label, unicode.IsControl):
		return "has control characters in it"
	}
	return ""
}
