package muc

import (
	"slices"
	"strconv"

	"github.com/allium-xmpp/allium/component"
)

// A pageRequest is what of a list is wanted (XEP-0059).
type pageRequest struct {
	max                 int
	before, after       string
	hasBefore, hasAfter bool
	index               int // -1 if it is not given
}

// parsePage reads an RSM set, which may be nil. most bounds the page.
func parsePage(set *component.Element, most int) (pageRequest, error) {
	p := pageRequest{max: most, index: -1}
	if set == nil {
		return p, nil
	}
	read := func(name string, to *int) bool {
		e := set.Child(NSRSM, name)
		if e == nil {
			return true
		}
		n, err := strconv.Atoi(e.Text())
		*to = n
		return err == nil && n >= 0
	}
	if !read("max", &p.max) || !read("index", &p.index) {
		return p, errBadRequest
	}
	p.max = min(p.max, most)
	if e := set.Child(NSRSM, "before"); e != nil {
		p.hasBefore, p.before = true, e.Text()
	}
	if e := set.Child(NSRSM, "after"); e != nil {
		p.hasAfter, p.after = true, e.Text()
	}
	return p, nil
}

// resultSet is the set of an answer. An index or count below 0 is not known.
func resultSet(first, last string, index, count int) *component.Element {
	set := component.NewElement(NSRSM, "set")
	if first != "" || last != "" {
		f := component.NewElement(NSRSM, "first", component.Text(first))
		if index >= 0 {
			f.SetAttr("index", strconv.Itoa(index))
		}
		set.Add(f, component.NewElement(NSRSM, "last", component.Text(last)))
	}
	if count >= 0 {
		set.Add(component.NewElement(NSRSM, "count", component.Text(strconv.Itoa(count))))
	}
	return set
}

// paginate cuts a page out of a sorted list, and makes the set of the answer. asked may be
// nil: then there is a set only if not all is in the page.
func paginate(all []string, asked *component.Element, most int) (page []string, set *component.Element, err error) {
	p, err := parsePage(asked, most)
	if err != nil {
		return nil, nil, err
	}
	from, to := 0, len(all)
	find := func(name string) (int, error) {
		i, ok := slices.BinarySearch(all, name)
		if !ok {
			return 0, errNotFound
		}
		return i, nil
	}
	if p.hasAfter && p.after != "" {
		i, err := find(p.after)
		if err != nil {
			return nil, nil, err
		}
		from = i + 1
	}
	if p.hasBefore && p.before != "" {
		if to, err = find(p.before); err != nil {
			return nil, nil, err
		}
	}
	from = max(from, min(p.index, len(all)))
	if p.hasBefore {
		from = max(from, to-p.max)
	}
	to = min(to, from+p.max)
	page = all[from:max(from, to)]
	if asked == nil && len(page) == len(all) {
		return page, nil, nil
	}
	if len(page) == 0 {
		return page, resultSet("", "", 0, len(all)), nil
	}
	return page, resultSet(page[0], page[len(page)-1], from, len(all)), nil
}
