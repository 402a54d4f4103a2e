package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/agnivade/levenshtein"
)

// meant is a hint at the known name that is most like the one that was written, "" if
// none is.
func meant(written string, known []string) string {
	best, distance := "", len(written)/2+1
	for _, k := range known {
		if d := levenshtein.ComputeDistance(written, k); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; is %q meant?", best)
}

// knownKeys lists the keys of a configuration, with those of its sections.
func knownKeys(t reflect.Type, prefix string) (keys []string) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("toml")
		ft := f.Type
		if ft.Kind() == reflect.Pointer || ft.Kind() == reflect.Slice {
			ft = ft.Elem()
		}
		switch {
		case f.Anonymous:
			keys = append(keys, knownKeys(ft, prefix)...)
		case name == "":
		case ft.Kind() == reflect.Struct:
			keys = append(keys, prefix+name)
			keys = append(keys, knownKeys(ft, prefix+name+".")...)
		default:
			keys = append(keys, prefix+name)
		}
	}
	return keys
}

// findLine finds the line that a key is on, or that its section begins on, counting
// from 1; it is 1 when neither is written. Of several sections of one name the second is
// name[2]. The TOML package tells lines only of what it cannot read.
func findLine(text string, key []string) int {
	section, best := "", 1
	want := strings.Join(key, ".")
	count := map[string]int{}
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(strings.TrimSpace(line), "[]")
			count[section]++
			if numbered := fmt.Sprintf("%s[%d]", section, count[section]); strings.HasPrefix(want, numbered) {
				section = numbered
			}
			section += "."
			if strings.TrimSuffix(section, ".") == want {
				return i + 1
			}
			if strings.HasPrefix(want, section) {
				best = i + 1
			}
			continue
		}
		name, _, ok := strings.Cut(line, "=")
		if ok && section+strings.Trim(strings.TrimSpace(name), `"'`) == want {
			return i + 1
		}
	}
	return best
}
