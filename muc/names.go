package muc

import "slices"

// names are names of rooms, sorted.
type names []string

// put adds a name that is not there.
func (n *names) put(name string) {
	i, _ := slices.BinarySearch(*n, name)
	*n = slices.Insert(*n, i, name)
}

// take removes a name, if it is there.
func (n *names) take(name string) {
	if i, ok := slices.BinarySearch(*n, name); ok {
		*n = slices.Delete(*n, i, i+1)
	}
}
