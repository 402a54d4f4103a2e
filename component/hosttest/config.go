package hosttest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// Config says what the server serves.
//
// Domains and local parts are lower-cased; beyond that they must be given in
// the form the server uses (prepared, not escaped). Passwords and secrets must
// not be empty.
type Config struct {
	// Domains are the virtual hosts; at least one.
	Domains []string
	// Users maps a bare JID, whose domain is one of Domains, to its password.
	Users map[string]string
	// Components maps the domain of an external component (XEP-0114) to its
	// shared secret.
	Components map[string]string
	// S2S makes the server listen for other servers on Host.S2SAddr and
	// allows connections to other servers. Encryption is not required. Names
	// of other servers are looked up in /etc/hosts only.
	S2S bool
	// Extra is appended to the options of the server.
	//
	// Prosody: Lua lines of the global section; a later line replaces an
	// earlier one of the same name. ejabberd: top-level YAML that does not
	// repeat an option already there; modules of one domain are added with
	// append_host_config.
	Extra string
	// HostExtra is put under every VirtualHost. Prosody only; ejabberd
	// ignores it.
	HostExtra string
	// Modules are added to the global modules_enabled. Prosody only;
	// ejabberd ignores them. Community modules of the package prosody-modules
	// are found by name.
	Modules []string
	// LogStanzas writes all that goes over streams to the log. Prosody only;
	// ejabberd ignores it.
	LogStanzas bool
}

// debugEnv names the environment variable that turns on debug logs.
const debugEnv = "HOSTTEST_DEBUG"

// logLevel is the level both servers log at; they use the same two names.
func logLevel() string {
	if os.Getenv(debugEnv) != "" {
		return "debug"
	}
	return "info"
}

// user is one account of Config.Users.
type user struct {
	local, domain, password string
}

// checked returns a copy of c in normal form, and its users as a list, or says
// what is wrong with c.
func (c Config) checked() (Config, []user, error) {
	if len(c.Domains) == 0 {
		return c, nil, errors.New("no domain to serve")
	}
	taken := make(map[string]bool)
	var domains []string
	for _, d := range c.Domains {
		d = strings.ToLower(d)
		if err := checkDomain(d, taken); err != nil {
			return c, nil, err
		}
		domains = append(domains, d)
	}
	var users []user
	for jid, password := range c.Users {
		u, err := parseUser(jid, password)
		if err != nil {
			return c, nil, err
		}
		if !taken[u.domain] {
			return c, nil, fmt.Errorf("user %q is of none of the domains", jid)
		}
		users = append(users, u)
	}
	components := make(map[string]string)
	for d, secret := range c.Components {
		d = strings.ToLower(d)
		if err := checkDomain(d, taken); err != nil {
			return c, nil, err
		}
		if secret == "" {
			return c, nil, fmt.Errorf("component %q has no secret", d)
		}
		components[d] = secret
	}
	c.Domains, c.Components = domains, components
	return c, users, nil
}

// checkDomain refuses names that are empty, taken already, or hold characters
// no domain has. The configuration files and the stream headers rely on that.
func checkDomain(d string, taken map[string]bool) error {
	if d == "" || strings.ContainsAny(d, "@/\\\"'<>& \t\r\n\x00") {
		return fmt.Errorf("%q is no domain", d)
	}
	if taken[d] {
		return fmt.Errorf("domain %q is given twice", d)
	}
	taken[d] = true
	return nil
}

func parseUser(jid, password string) (user, error) {
	local, domain, ok := strings.Cut(strings.ToLower(jid), "@")
	if !ok || local == "" || strings.ContainsAny(local+domain, "@/\\\"'<>& \t\r\n\x00") {
		return user{}, fmt.Errorf("user %q is no bare JID", jid)
	}
	if password == "" {
		return user{}, fmt.Errorf("user %q has no password", jid)
	}
	return user{local: local, domain: domain, password: password}, nil
}

// render writes what t makes of data to file, readable by the owner only
// because it holds secrets.
func render(file string, t *template.Template, data any) error {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o600)
}

// makeDir makes dir and the folders in it, and returns its absolute path.
func makeDir(dir string, sub ...string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for _, s := range append(sub, ".") {
		if err := os.MkdirAll(filepath.Join(dir, s), 0o700); err != nil {
			return "", err
		}
	}
	return dir, nil
}
