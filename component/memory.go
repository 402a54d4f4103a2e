package component

const (
	slabSize  = 512     // octets, which a string may keep from being freed
	slabMax   = 128     // octets of a string that shares them
	keepBytes = 8 << 10 // octets, and
	keepItems = 256     // attributes or nodes, for which there is room between elements
)

// string makes a string. Short ones share their memory with the next ones, so that an
// element with its addresses takes one allocation and not one for each.
func (s *scanner) string(b []byte) string {
	if len(b) > slabMax {
		return string(b)
	}
	if s.slab.Cap()-s.slab.Len() < len(b) {
		s.slab.Reset()
		s.slab.Grow(slabSize)
	}
	start := s.slab.Len()
	s.slab.Write(b)
	return s.slab.String()[start:]
}

// trim is called between elements: nothing is kept of the last one, nor the memory that
// a long one needed.
func (d *Decoder) trim() {
	s := d.s
	clear(d.nodes)
	clear(s.tag.attrs)
	d.nodes, s.tag.attrs, s.text = d.nodes[:0], s.tag.attrs[:0], s.text[:0]
	if cap(d.nodes) > keepItems {
		d.nodes = nil
	}
	if cap(s.tag.attrs) > keepItems {
		s.tag.attrs = nil
	}
	if cap(s.text) > keepBytes {
		s.text = nil
	}
	if cap(s.split) > keepBytes {
		s.split = nil
	}
}
