package muc

import (
	"slices"
	"strings"
)

// A roll holds what is found by a text, in the order of these. There are a few in most
// rooms, where it takes a fraction of the memory of a map, and some thousand in the
// largest, where to insert one still costs a few microseconds.
type roll[T keyed] []T

// keyed is what a roll holds. Its key does not change while it is in there.
type keyed interface{ key() string }

func (t roll[T]) find(key string) (at int, found bool) {
	return slices.BinarySearchFunc(t, key, func(v T, key string) int { return strings.Compare(v.key(), key) })
}

// get gives the zero value for what is not there.
func (t roll[T]) get(key string) (v T) {
	if i, found := t.find(key); found {
		v = t[i]
	}
	return v
}

// put replaces what had the same key.
func (t *roll[T]) put(v T) {
	i, found := t.find(v.key())
	if found {
		(*t)[i] = v
		return
	}
	*t = slices.Insert(grown(*t, 1), i, v)
}

// grown is s with room for n more. It gets little more than that, and not twice of what it
// has as by append: most of what rooms hold stays as it is.
func grown[S ~[]E, E any](s S, n int) S {
	if len(s)+n <= cap(s) {
		return s
	}
	return append(slices.Grow(S(nil), len(s)+len(s)/16+n), s...)
}

func (t *roll[T]) drop(key string) {
	if i, found := t.find(key); found {
		*t = slices.Delete(*t, i, i+1)
	}
}
