// Package hosttest starts a real XMPP server, Prosody or ejabberd, for
// end-to-end tests and demonstrations.
//
// Each server gets its own configuration, data folder and loopback ports, so
// several run side by side, next to an installed service, as root or as a
// normal user. Nothing listens beyond 127.0.0.1, and no server makes a DNS
// query, so everything works on a machine that has nothing but a loopback
// interface.
//
// The servers are those of Debian 12: Prosody 0.12 (package "prosody", with
// community modules from "prosody-modules") and ejabberd 23.01 (package
// "ejabberd"). A server that is not installed is an error, never a reason to
// skip something silently.
//
//	host, err := hosttest.StartProsody(ctx, dir, hosttest.Config{
//		Domains:    []string{"a.test"},
//		Users:      map[string]string{"alice@a.test": "secret"},
//		Components: map[string]string{"gateway.a.test": "shared"},
//	})
//	if err != nil {
//		return err
//	}
//	defer host.Stop()
//
// Set the environment variable HOSTTEST_DEBUG to anything to have the servers
// log at debug level.
package hosttest
