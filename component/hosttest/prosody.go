package hosttest

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

//go:embed prosody.cfg.lua.tmpl
var prosodyConfig string

var prosodyTemplate = template.Must(template.New("prosody.cfg.lua").
	Funcs(template.FuncMap{"lua": luaString}).Parse(prosodyConfig))

// StartProsody starts Prosody with its files in dir, which is made if needed.
// It returns when the server accepts connections on all its ports and all
// users exist. Data of an earlier server in dir is kept; the passwords become
// those of c. ctx bounds the start (one minute if it has no deadline), not the
// life of the server.
func StartProsody(ctx context.Context, dir string, c Config) (*Host, error) {
	h, err := prosody(dir, c)
	if err != nil {
		return nil, fmt.Errorf("hosttest: set up prosody: %w", err)
	}
	if err := h.Start(ctx); err != nil {
		return nil, err
	}
	return h, nil
}

// prosody writes all files of the server.
func prosody(dir string, c Config) (*Host, error) {
	bin, err := lookPath("prosody", "prosody")
	if err != nil {
		return nil, err
	}
	c, users, err := c.checked()
	if err != nil {
		return nil, err
	}
	dir, err = makeDir(dir, "data", "certs")
	if err != nil {
		return nil, err
	}
	h, err := newHost("prosody", dir, c)
	if err != nil {
		return nil, err
	}
	level := logLevel()
	if c.LogStanzas {
		c.Modules, level = append(slices.Clone(c.Modules), "stanza_debug"), "debug"
	}
	config := filepath.Join(dir, "prosody.cfg.lua")
	h.argv = []string{bin, "-F", "--config", config}
	err = render(config, prosodyTemplate, map[string]any{
		"Config":    c,
		"Client":    h.client,
		"Component": h.component,
		"S2S":       h.s2s,
		"Data":      filepath.Join(dir, "data"),
		"PidFile":   filepath.Join(dir, "prosody.pid"),
		"LogFile":   h.logFile,
		"LogLevel":  level,
	})
	if err != nil {
		return nil, err
	}
	for _, u := range users {
		if err := writeProsodyUser(filepath.Join(dir, "data"), u); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// writeProsodyUser writes the account file that Prosody's internal storage
// would write. That takes no time, while prosodyctl needs a run per account.
func writeProsodyUser(data string, u user) error {
	dir := filepath.Join(data, prosodyName(u.domain), "accounts")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	account := fmt.Sprintf("return {\n\t[\"password\"] = %s;\n};\n", luaString(u.password))
	return os.WriteFile(filepath.Join(dir, prosodyName(u.local)+".dat"), []byte(account), 0o600)
}

// prosodyName encodes a name the way Prosody's internal storage does for file
// names: every byte that is no ASCII letter or digit becomes %xx.
func prosodyName(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// luaString writes s as a Lua string literal.
func luaString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			fmt.Fprintf(&b, "\\%03d", c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
