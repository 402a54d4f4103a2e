package hosttest

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed ejabberd.yml.tmpl
var ejabberdConfig string

// ejabberdBoot are Erlang expressions that the Erlang VM evaluates when
// ejabberd is up.
//
//go:embed ejabberd_boot.txt
var ejabberdBoot string

var ejabberdTemplate = template.Must(template.New("ejabberd.yml").
	Funcs(template.FuncMap{"yaml": yamlString}).Parse(ejabberdConfig))

// ejabberdInetrc keeps the resolver of the Erlang VM from DNS: it reads
// /etc/hosts only, and no resolv.conf.
const ejabberdInetrc = `{lookup, [file]}.
{resolv_conf, ""}.
`

// StartEjabberd starts ejabberd with its files in dir, which is made if needed.
// It returns when the server accepts connections on all its ports and all
// users exist. Data of an earlier server in dir is kept; the passwords become
// those of c. ctx bounds the start (one minute if it has no deadline), not the
// life of the server.
func StartEjabberd(ctx context.Context, dir string, c Config) (*Host, error) {
	h, err := ejabberd(dir, c)
	if err != nil {
		return nil, fmt.Errorf("hosttest: set up ejabberd: %w", err)
	}
	if err := h.Start(ctx); err != nil {
		return nil, err
	}
	return h, nil
}

// ejabberd writes all files of the server.
func ejabberd(dir string, c Config) (*Host, error) {
	erl, err := lookPath("erl", "ejabberd")
	if err != nil {
		return nil, err
	}
	ebin, err := findEjabberd()
	if err != nil {
		return nil, err
	}
	c, users, err := c.checked()
	if err != nil {
		return nil, err
	}
	dir, err = makeDir(dir, "log", "messages")
	if err != nil {
		return nil, err
	}
	h, err := newHost("ejabberd", dir, c)
	if err != nil {
		return nil, err
	}
	h.readyFile = filepath.Join(dir, "ready")
	// This is what ejabberdctl runs, without a node name: then there is no
	// Erlang distribution, hence no epmd, no port and no cookie.
	h.argv = []string{
		erl, "-boot", "no_dot_erlang", "-noinput", "+sbwt", "none",
		"-pa", ebin,
		"-mnesia", "dir", `"database"`,
		"-s", "ejabberd",
		"-eval", ejabberdBoot,
	}
	h.env = []string{
		"HOME=" + dir,
		"EJABBERD_CONFIG_PATH=" + filepath.Join(dir, "ejabberd.yml"),
		// The same as on the console, but written with delay, so a killed
		// server loses its last lines; therefore the console is our log.
		"EJABBERD_LOG_PATH=" + filepath.Join(dir, "log", "ejabberd.log"),
		// An empty folder: without translations the start is 0.15 s faster.
		"EJABBERD_MSGS_PATH=" + filepath.Join(dir, "messages"),
		"ERL_INETRC=" + filepath.Join(dir, "inetrc"),
		"ERL_CRASH_DUMP_BYTES=0",
	}
	err = render(filepath.Join(dir, "ejabberd.yml"), ejabberdTemplate, map[string]any{
		"Config":    c,
		"Client":    h.client,
		"Component": h.component,
		"S2S":       h.s2s,
		"LogLevel":  logLevel(),
	})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "inetrc"), []byte(ejabberdInetrc), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "users"), ejabberdUsers(users), 0o600); err != nil {
		return nil, err
	}
	return h, nil
}

// findEjabberd finds the folder with the compiled modules of ejabberd.
func findEjabberd() (string, error) {
	for _, pattern := range []string{
		"/usr/lib/*/ejabberd-*/ebin/ejabberd.app", // Debian 12
		"/usr/lib/erlang/lib/ejabberd-*/ebin/ejabberd.app",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return filepath.Dir(found[len(found)-1]), nil
		}
	}
	return "", errors.New(`ejabberd is not in /usr/lib (install the Debian package "ejabberd")`)
}

// ejabberdUsers writes the accounts as Erlang terms {Local, Domain, Password}
// for ejabberdBoot.
func ejabberdUsers(users []user) []byte {
	var b bytes.Buffer
	for _, u := range users {
		fmt.Fprintf(&b, "{%s, %s, %s}.\n", erlBinary(u.local), erlBinary(u.domain), erlBinary(u.password))
	}
	return b.Bytes()
}

// erlBinary writes s as an Erlang binary, byte by byte: that needs no escapes.
func erlBinary(s string) string {
	parts := make([]string, len(s))
	for i, c := range []byte(s) {
		parts[i] = fmt.Sprint(c)
	}
	return "<<" + strings.Join(parts, ",") + ">>"
}

// yamlString writes s as a quoted YAML string; a JSON string is one.
func yamlString(s string) (string, error) {
	b, err := json.Marshal(s)
	return string(b), err
}
