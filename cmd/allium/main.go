// Allium gives an XMPP server an onion side. It runs beside a Prosody or an ejabberd,
// attaches to it as an external component (XEP-0114), and federates with .onion
// servers through Tor.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// commands are what can be written on the command line.
type commands struct {
	Init    initCmd    `cmd:"" help:"Write a configuration, make the onion key, and show what the host's configuration needs."`
	Check   checkCmd   `cmd:"" help:"Test each part in the order in which it can fail, and say how to mend it."`
	Run     runCmd     `cmd:"" help:"Run in the foreground, until SIGTERM."`
	Onion   onionCmd   `cmd:"" help:"About onion services."`
	Omemo   omemoCmd   `cmd:"" help:"About end-to-end encryption."`
	Demo    demoCmd    `cmd:"" help:"Show two people on two servers talking through a private Tor network on this machine."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// A configFlag is the flag that names the configuration file.
type configFlag struct {
	Config string `short:"c" default:"/etc/allium/allium.toml" placeholder:"FILE" help:"The configuration file (${default})."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // when nobody reads what is written any more, as a log, all else goes on
	if err := allium(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, errTold) {
			fmt.Fprintln(os.Stderr, "allium:", err)
		}
		switch {
		case errors.As(err, new(configError)):
			os.Exit(exitConfig)
		case errors.As(err, new(usageError)):
			os.Exit(exitUsage)
		}
		os.Exit(1)
	}
}

// Exit codes of sysexits.
const (
	exitUsage  = 64 // EX_USAGE
	exitConfig = 78 // EX_CONFIG: it is of no use to try again
)

// A configError is one that only another configuration mends.
type configError struct{ error }

func (e configError) Unwrap() error { return e.error }

// A usageError is one of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errTold is the error of a command that has said all about it already.
var errTold = errors.New("failed")

// allium runs one command line.
func allium(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c commands
	parser, err := kong.New(&c, kong.Name("allium"), kong.Writers(stdout, stderr),
		kong.Description("The onion side of an XMPP server."),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(output{stdout, stderr}))
	if err != nil {
		return err
	}
	k, err := parser.Parse(asUsual(args))
	if err != nil {
		return usageError{explainUsage(parser.Model, args, err)}
	}
	return k.Run()
}

// asUsual is what is meant by the ways in which people ask programs for help.
func asUsual(args []string) []string {
	switch {
	case len(args) == 0:
		return []string{"--help"}
	case args[0] == "help":
		return append(args[1:len(args):len(args)], "--help")
	case len(args) == 1 && (args[0] == "--version" || args[0] == "-V"):
		return []string{"version"}
	}
	return args
}

// explainUsage says what there is in the place of what was written.
func explainUsage(app *kong.Application, args []string, err error) error {
	at, said := app.Node, "allium"
	for _, arg := range args {
		i := slices.IndexFunc(at.Children, func(n *kong.Node) bool { return n.Name == arg })
		if i < 0 {
			break
		}
		at, said = at.Children[i], said+" "+arg
	}
	if len(at.Children) == 0 {
		return fmt.Errorf("%w (see %s --help)", err, said)
	}
	var names []string
	for _, n := range at.Children {
		names = append(names, n.Name)
	}
	return fmt.Errorf("%w (%s has the commands %s; see %s --help)", err, said, strings.Join(names, ", "), said)
}

// output is where commands write to.
type output struct{ stdout, stderr io.Writer }

type versionCmd struct{}

// Run prints the version that the module has, or the commit that it was built from.
func (versionCmd) Run(out output) error {
	fmt.Fprintln(out.stdout, "allium", version())
	return nil
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
			v = s.Value
		}
	}
	return fmt.Sprintf("%s (%s)", v, info.GoVersion)
}
