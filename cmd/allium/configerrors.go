package main

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

var (
	typeError   = regexp.MustCompile(`^toml: line (\d+) \(last key "([^"]+)"\): (.*)`)
	typesDiffer = regexp.MustCompile(`TOML value has type (\S+); destination has type (\S+)`)
)

// explainTOML says what is wrong with a text in words of those who write it.
func explainTOML(file string, err error) error {
	if pe := new(toml.ParseError); errors.As(err, pe) {
		message := strings.TrimPrefix(pe.Message, "toml: ")
		for _, sign := range []string{"Invalid float value", "Invalid integer", "expected value but found"} {
			if strings.HasPrefix(message, sign) {
				message += "; texts stand in quotes: \"...\""
			}
		}
		if pe.LastKey != "" {
			message = pe.LastKey + ": " + message
		}
		return fmt.Errorf("%s:%d: %s", file, pe.Position.Line, message)
	}
	// A value of the wrong type is told in words only.
	m := typeError.FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	line, key, message := m[1], m[2], m[3]
	if types := typesDiffer.FindStringSubmatch(message); types != nil {
		is, wanted := types[1], types[2]
		section := strings.HasPrefix(is, "map")
		switch {
		case section && wanted == "slice":
			message = fmt.Sprintf("there can be several: write [[%s]]", key)
		case section:
			message = "this is the name of a value, and not of a section"
		case wanted == "slice":
			message = "this is a list: [\"...\"]"
		case wanted == "string":
			message = "this is a text, in quotes: \"...\""
		case wanted == "boolean":
			message = "this is true or false, without quotes"
		case wanted == "integer" || strings.HasPrefix(wanted, "int"):
			message = "this is a number, without quotes"
		}
	}
	if strings.Contains(message, "expected table") {
		message = fmt.Sprintf("this is a section: [%s]", key)
	}
	return fmt.Errorf("%s:%s: %s: %s", file, line, key, message)
}

// unknownKeys tells of keys that mean nothing: of a section once, and not of what is in it.
func unknownKeys(file, text string, keys []toml.Key) error {
	var errs []error
	for _, key := range keys {
		inside := slices.ContainsFunc(keys, func(k toml.Key) bool { return len(k) < len(key) && slices.Equal(k, key[:len(k)]) })
		if !inside {
			errs = append(errs, unknownKey(file, text, key))
		}
	}
	return errors.Join(errs...)
}

// sections is what else people may call a section.
var sections = map[string]string{"rooms": "muc", "onion": "federation", "gateway": "federation", "prosody": "host", "ejabberd": "host", "server": "host"}

// unknownKey tells of a key that means nothing, and of one that may be meant.
func unknownKey(file, text string, key toml.Key) error {
	known := knownKeys(reflect.TypeFor[config](), "")
	if len(key) == 1 {
		known = slices.DeleteFunc(known, func(k string) bool { return strings.Contains(k, ".") })
	}
	// Within the right section, the section's name is no sign of likeness.
	hint := meant(key.String(), known)
	if s := sections[key[0]]; s != "" {
		hint = meant(s, []string{s})
	}
	line := findLine(text, key)
	above := strings.Join(strings.Split(text, "\n")[:line-1], "\n")
	nearest := -1
	for _, k := range known {
		section, name, ok := strings.Cut(k, ".")
		out := regexp.MustCompile(`(?m)^\s*#\s*\[+` + regexp.QuoteMeta(section) + `\]+`)
		at := out.FindAllStringIndex(above, -1)
		if ok && len(key) == 2 && name == key[1] && len(at) > 0 && at[len(at)-1][0] > nearest {
			nearest = at[len(at)-1][0]
			hint = fmt.Sprintf("; it stands in [%s] here: is [%s] meant, which is behind a # still?", key[0], section)
		}
	}
	return fmt.Errorf("%s:%d: unknown key %q%s", file, line, key.String(), hint)
}
