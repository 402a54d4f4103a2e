package onionroute

import (
	"encoding/binary"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// appendRecord appends an item as it is in a row of the spool: numbers, and texts behind
// their lengths.
func (it *item) appendRecord(dst []byte) []byte {
	h := &it.head
	for _, n := range []int64{int64(h.Kind), it.since.UnixMilli(), int64(it.seq), it.order} {
		dst = binary.AppendVarint(dst, n)
	}
	for _, text := range []string{it.pair.from, it.pair.to, h.Type, h.ID, h.From.String(), h.To.String()} {
		dst = append(binary.AppendUvarint(dst, uint64(len(text))), text...)
	}
	return append(binary.AppendUvarint(dst, uint64(len(it.xml))), it.xml...)
}

// readRecords reads the items of a row.
func readRecords(data []byte) ([]*item, error) {
	r := recordReader{data: data}
	var items []*item
	for len(r.data) > 0 {
		it := &item{kept: true}
		it.head.Kind = component.Kind(r.number())
		since := time.UnixMilli(r.number())
		it.seq, it.order = uint32(r.number()), r.number()
		it.pair = pair{r.text(), r.text()}
		it.head.Type, it.head.ID = r.text(), r.text()
		var err error
		if it.head.From, err = jid.Parse(r.text()); err == nil {
			it.head.To, err = jid.Parse(r.text())
		}
		it.xml = []byte(r.text())
		if err != nil || r.short || it.head.Kind == 0 || it.head.Kind > component.IQ {
			return nil, errDamaged
		}
		// Age goes on from here by a clock that does not jump.
		it.since = time.Now().Add(-max(0, time.Since(since)))
		items = append(items, it)
	}
	return items, nil
}

// A recordReader reads what was appended, until that is too short.
type recordReader struct {
	data  []byte
	short bool
}

func (r *recordReader) number() int64 {
	n, size := binary.Varint(r.data)
	r.skip(size > 0, size)
	return n
}

func (r *recordReader) text() string {
	n, size := binary.Uvarint(r.data)
	enough := size > 0 && n <= uint64(len(r.data)-size)
	text := r.skip(enough, size+int(n))
	if !enough {
		return ""
	}
	return string(text[size:])
}

// skip gives the next octets, if there are enough.
func (r *recordReader) skip(enough bool, n int) []byte {
	if !enough {
		r.data, r.short = nil, true
		return nil
	}
	next := r.data[:n]
	r.data = r.data[n:]
	return next
}
