package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/onionroute"
)

// A config is what the configuration file says. Everything that is not written has a
// default. A service is on when its section is there.
type config struct {
	file string

	StateDir   string            `toml:"state_dir"`
	Admins     []string          `toml:"admins"`
	Host       hostConfig        `toml:"host"`
	Federation *federationConfig `toml:"federation"`
	Muc        *mucConfig        `toml:"muc"`
	Alias      []aliasConfig     `toml:"alias"`
	Peer       []peerConfig      `toml:"peer"`
	Tor        torConfig         `toml:"tor"`
	Spool      spoolConfig       `toml:"spool"`
	Privacy    privacyConfig     `toml:"privacy"`
	Web        *webConfig        `toml:"web"`
	Limits     limitsConfig      `toml:"limits"`
	Log        logConfig         `toml:"log"`
}

type hostConfig struct {
	Server  string   `toml:"server"`
	Domains []string `toml:"domains"`
	secretConfig
}

type federationConfig struct {
	Domain  string   `toml:"domain"`
	Native  bool     `toml:"native"`
	Peers   string   `toml:"peers"`
	Clients []string `toml:"clients"`
	secretConfig
}

// A secretConfig is the shared secret of a component.
type secretConfig struct {
	Secret     string `toml:"secret"`
	SecretFile string `toml:"secret_file"`
}

type torConfig struct {
	Binary   string `toml:"binary"`
	Torrc    string `toml:"torrc"`
	Control  string `toml:"control"`
	Password string `toml:"password"`
	Sockets  string `toml:"sockets"`
}

type privacyConfig struct {
	Level      string   `toml:"level"`
	Off        []string `toml:"off"`
	On         []string `toml:"on"`
	OnionLinks bool     `toml:"onion_links"`
}

type limitsConfig struct {
	Stanza                int `toml:"stanza"`
	UnauthenticatedStanza int `toml:"unauthenticated_stanza"`
	Depth                 int `toml:"depth"`
	Elements              int `toml:"elements"`
	StanzaRate            int `toml:"stanza_rate"`
}

type spoolConfig struct {
	MaxAge  duration `toml:"max_age"`
	PerPeer int      `toml:"per_peer"`
	PerUser int      `toml:"per_user"`
	Total   int      `toml:"total"`
}

// A duration is written as people write it: "36h", "7d".
type duration time.Duration

// days are whole days, at least one unless it is nothing.
func (d duration) days() int {
	day := duration(24 * time.Hour)
	return int((d + day - 1) / day)
}

// UnmarshalText reads a duration. Days have 24 hours.
func (d *duration) UnmarshalText(text []byte) error {
	s := string(text)
	days, isDays := strings.CutSuffix(s, "d")
	v, err := time.ParseDuration(s)
	if isDays {
		v, err = time.ParseDuration(days + "h")
		v *= 24
	}
	if err != nil || v <= 0 {
		return fmt.Errorf("%q is not a time such as \"36h\" or \"7d\"", s)
	}
	*d = duration(v)
	return nil
}

type logConfig struct {
	Level     string `toml:"level"`
	Addresses bool   `toml:"addresses"`
}

// loadConfig reads and checks a configuration file. Errors name the file, the line and
// the key.
func loadConfig(file string) (*config, error) {
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrPermission):
		return nil, explainOwner(file, err)
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%w (make one with: allium init)", err)
	case err != nil:
		return nil, err
	}
	c, at, err := parseConfig(file, string(text))
	if err != nil {
		return nil, err
	}
	if err := c.readSecrets(at); err != nil {
		return nil, err
	}
	return c, c.readAuthKeys(at)
}

// An atKey makes an error of a key, "host.server", which names the file and the line.
type atKey func(key, format string, args ...any) error

// parseConfig is what a text says that is, or will be, in a file.
func parseConfig(file, text string) (*config, atKey, error) {
	c := &config{file: file, StateDir: "/var/lib/allium", Host: hostConfig{Server: "127.0.0.1:5347"}}
	meta, err := toml.Decode(text, c)
	if err != nil {
		return nil, nil, explainTOML(file, err)
	}
	if err := unknownKeys(file, text, meta.Undecoded()); err != nil {
		return nil, nil, err
	}
	if c.Web != nil && c.Web.Listen == "" {
		c.Web.Listen = "127.0.0.1:5380"
	}
	c.StateDir = c.absolute(c.StateDir)
	for _, p := range []*string{&c.Tor.Torrc, &c.Tor.Sockets, &c.Host.SecretFile} {
		*p = c.absolute(*p)
	}
	if c.Federation != nil {
		c.Federation.SecretFile = c.absolute(c.Federation.SecretFile)
	}
	if c.Muc != nil {
		c.Muc.SecretFile = c.absolute(c.Muc.SecretFile)
	}
	for i := range c.Alias {
		c.Alias[i].SecretFile = c.absolute(c.Alias[i].SecretFile)
	}
	for i := range c.Peer {
		c.Peer[i].AuthKeyFile = c.absolute(c.Peer[i].AuthKeyFile)
	}
	at := func(key, format string, args ...any) error {
		return fmt.Errorf("%s:%d: %s: %w", file, findLine(text, strings.Split(key, ".")), key, fmt.Errorf(format, args...))
	}
	var errs []error
	tell := func(key, format string, args ...any) { errs = append(errs, at(key, format, args...)) }
	checkNumbers(text, tell)
	c.check(tell)
	return c, at, errors.Join(errs...)
}

// absolute makes a path one that starts at the file's folder.
func (c *config) absolute(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	abs, err := filepath.Abs(filepath.Join(filepath.Dir(c.file), path))
	if err != nil {
		return path
	}
	return abs
}

// check tells of every value that cannot be right by at.
func (c *config) check(at func(key, format string, args ...any)) {
	domain := func(key, d string) { checkDomain(at, key, d) }
	if c.StateDir == "" {
		at("state_dir", "say which folder is for keys and data, such as \"/var/lib/allium\"")
	}
	if _, ok := addressAndPort(c.Host.Server); !ok {
		at("host.server", "%q is not an address and a port, such as 127.0.0.1:5347; Allium looks up no names", c.Host.Server)
	}
	if _, ok := addressAndPort(c.Tor.Control); !ok && c.Tor.Control != "" && !strings.HasPrefix(c.Tor.Control, "unix:/") {
		at("tor.control", "%q is not an address of a socket, such as unix:/run/tor/control or 127.0.0.1:9051; Allium looks up no names", c.Tor.Control)
	}
	native := c.Federation != nil && c.Federation.Native
	if len(c.Host.Domains) == 0 && !native {
		at("host.domains", "say which domains the host serves, such as domains = [\"example.org\"]")
	}
	for _, d := range c.Host.Domains {
		domain("host.domains", d)
	}
	if c.Federation == nil {
		if c.Muc == nil {
			at("federation", "there is no [federation] section, and no [muc], so there is nothing to do")
		}
		if len(c.Alias) > 0 || len(c.Peer) > 0 {
			at("federation", "[[alias]] and [[peer]] need a [federation] section")
		}
	} else if c.Federation.Domain == "" && !native {
		at("federation.domain", "say which component domain the gateway has, such as domain = \"onion.example.org\"")
	} else if c.Federation.Domain != "" {
		domain("federation.domain", c.Federation.Domain)
		for _, d := range c.Host.Domains {
			if d == c.Federation.Domain {
				at("federation.domain", "%s is a domain of the host; the gateway needs one of its own", d)
			}
		}
	}
	if c.Federation != nil {
		c.checkAddresses(at)
	}
	if c.Muc != nil {
		c.checkRooms(at)
	}
	c.checkAdmins(at)
	if c.Tor.Control != "" && (c.Tor.Binary != "" || c.Tor.Torrc != "") {
		at("tor.control", "with a running tor, tor.binary and tor.torrc have no use")
	}
	if n := c.Limits.UnauthenticatedStanza; n > 0 && n < 1000 || c.Limits.Stanza > 0 && c.Limits.Stanza < 10_000 {
		at("limits", "stanza must be at least 10000 octets (RFC 6120 §13.12), and unauthenticated_stanza 1000")
	}
	c.Privacy.check(at)
	if c.Web != nil {
		c.Web.check(at)
	}
	switch c.Log.Level {
	case "", "debug", "info", "warn", "error":
	default:
		at("log.level", "%q is not one of debug, info, warn, error", c.Log.Level)
	}
}

// checkNumbers tells of numbers that cannot be limits. In a config 0 is one that is not written.
func checkNumbers(text string, at func(key, format string, args ...any)) {
	var sections map[string]any
	toml.Decode(text, &sections) // it was read before
	for name, section := range sections {
		table, _ := section.(map[string]any)
		for key, value := range table {
			if n, ok := value.(int64); ok && n <= 0 {
				at(name+"."+key, "must be more than 0; the default is what there is without this line")
			}
		}
	}
}

// addressAndPort reads an address and a port, for neither of which a name will do.
func addressAndPort(s string) (ip netip.Addr, ok bool) {
	a, err := netip.ParseAddrPort(s)
	return a.Addr(), err == nil && a.Port() > 0
}

// checkDomain tells if a text is no domain name, or one that is written in another way in
// addresses.
func checkDomain(at func(key, format string, args ...any), key, domain string) {
	switch j, err := jid.New("", domain, ""); {
	case err != nil:
		at(key, "%q is not a domain name in lower case", domain)
	case j.Domainpart() != domain:
		at(key, "%q is not a domain name in lower case: write %q", domain, j.Domainpart())
	}
}

func (p *privacyConfig) check(at func(key, format string, args ...any)) {
	switch p.Level {
	case "", "standard", "strict":
	default:
		at("privacy.level", "%q is not one of standard, strict", p.Level)
	}
	known := onionroute.PrivacyRules()
	for key, names := range map[string][]string{"privacy.off": p.Off, "privacy.on": p.On} {
		for _, name := range names {
			if !slices.Contains(known, name) {
				at(key, "unknown rule %q%s", name, meant(name, known))
			}
		}
	}
}

// identityFile is where the onion key is.
func (c *config) identityFile() string {
	return filepath.Join(c.StateDir, "identity", "hs_ed25519_secret_key")
}

// spoolFile is where what waits for peers is kept.
func (c *config) spoolFile() string { return filepath.Join(c.StateDir, "spool.sqlite") }

// socketDir is where Tor finds us, and, unless it is one that runs already, we it.
func (c *config) socketDir() string {
	if c.Tor.Sockets != "" {
		return c.Tor.Sockets
	}
	return filepath.Join(c.StateDir, "tor")
}

func (c *config) torSettings() onionroute.TorConfig {
	return onionroute.TorConfig{Dir: filepath.Join(c.StateDir, "tor"), Binary: c.Tor.Binary, Torrc: c.Tor.Torrc,
		Control: c.Tor.Control, Password: c.Tor.Password}
}

func (c *config) gatewaySettings(id *onionroute.Identity) onionroute.Config {
	l := c.Limits
	g := onionroute.Config{
		Identity: id, SocketDir: c.socketDir(),
		Spool: c.spoolFile(), MaxAge: time.Duration(c.Spool.MaxAge),
		StanzaRate: l.StanzaRate, QueueBytes: c.Spool.PerPeer, UserBytes: c.Spool.PerUser, TotalBytes: c.Spool.Total,
		Unauthenticated: component.Limits{Bytes: l.UnauthenticatedStanza, Depth: l.Depth, Elements: l.Elements},
		Authenticated:   component.Limits{Bytes: l.Stanza, Depth: l.Depth, Elements: l.Elements},
		Privacy: onionroute.Privacy{Strict: c.Privacy.Level == "strict", Off: c.Privacy.Off, On: c.Privacy.On,
			OnionLinks: c.Privacy.OnionLinks},
	}
	c.addresses(&g, id)
	if c.Muc != nil {
		g.Services = map[string]string{c.Muc.Domain: roomsLabel}
	}
	return g
}
