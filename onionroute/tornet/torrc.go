package tornet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const loopback = "127.0.0.1"

// Seconds between votes as long as there is no consensus; tor wants them to
// divide half an hour. With a consensus it is five minutes: TestingTorNetwork
// sees to that.
const (
	farInterval  = 300
	nearInterval = 5
)

// writeClientTorrc writes the configuration that clients need. The relays are
// given the same file, as their defaults.
func (b *boot) writeClientTorrc() error {
	var s strings.Builder
	s.WriteString("# A client of the private Tor network in this folder.\n")
	// This allows relays with private addresses that all lie in one subnet,
	// and lets directory requests be repeated without long waits.
	s.WriteString("TestingTorNetwork 1\n")
	// After a hundred circuits tor has learned how long they take, which here is
	// some tens of milliseconds; from then on it gave up each that takes longer, as
	// many do when the machine is busy, and whoever waits for one waits a second or more.
	s.WriteString("LearnCircuitBuildTimeout 0\nCircuitBuildTimeout 10\n")
	// Nobody needs to know countries, and to read them in takes tor longer than
	// all the rest of its start.
	s.WriteString("GeoIPFile /dev/null\nGeoIPv6File /dev/null\n")
	for _, n := range b.authorities() {
		fmt.Fprintf(&s, "DirAuthority %s orport=%d v3ident=%s %s:%d %s\n",
			n.name, n.orPort, n.v3ident, loopback, n.dirPort, n.fingerprint)
	}
	return os.WriteFile(b.clientTorrc(), []byte(s.String()), 0o600)
}

func (b *boot) clientTorrc() string { return filepath.Join(b.dir, "client.torrc") }

// writeTorrc writes the configuration of a relay. The vote matters only to an
// authority.
func (n *node) writeTorrc(vote voteTime) error {
	var s strings.Builder
	opt := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }

	opt("Nickname %s", n.name)
	opt("Address %s", loopback)
	switch {
	case n.door != nil:
		opt("ORPort %s:%d NoListen", loopback, n.orPort)
		opt("ORPort %s NoAdvertise", n.door.target)
	case n.orPort != 0:
		opt("ORPort %s:%d", loopback, n.orPort)
	default:
		opt("ORPort %s:auto", loopback)
	}
	// Clients do not use this port of a relay, but it answers as the relay
	// would answer them, so Start can see what the relay knows.
	opt("DirPort %s:%d", loopback, n.dirPort)
	opt("SocksPort 0")
	opt("ExitRelay 0")
	opt("ExitPolicy reject *:*")
	// A relay announces itself only when it believes that others can reach it.
	opt("AssumeReachable 1")
	// Clients pick relays by the bandwidth that these say they have. Soon after
	// the start most would say zero and one a little; that one would be picked
	// for every place in a circuit, and no circuit could be built. When all say
	// zero, as they do for a day with this, clients pick evenly.
	opt("TestingMinTimeToReportBandwidth 1 day")
	// No name is ever looked up. An empty file keeps tor from learning of the
	// machine's name servers at all.
	opt("ServerDNSDetectHijacking 0")
	opt("ServerDNSTestAddresses")
	opt("ServerDNSResolvConfFile /dev/null")
	// More threads than one only make seven processes get in each other's way.
	opt("NumCPUs 1")
	opt("ContactInfo none")

	if n.authority {
		opt("AuthoritativeDirectory 1")
		opt("V3AuthoritativeDirectory 1")
		// Give these flags to all relays, however short they have been up.
		opt("TestingDirAuthVoteGuard *")
		opt("TestingDirAuthVoteHSDir *")
		opt("AuthDirVoteStableGuaranteeMinUptime 0")
		opt("AuthDirVoteStableGuaranteeMTBF 0")
		opt("TestingV3AuthInitialVotingInterval %d", vote.interval)
		opt("TestingV3AuthInitialVoteDelay 2")
		opt("TestingV3AuthInitialDistDelay 2")
		opt("TestingV3AuthVotingStartOffset %d", vote.offset)
	}
	return os.WriteFile(filepath.Join(n.dir, "torrc"), []byte(s.String()), 0o600)
}

// voteTime says when authorities that have no consensus make one: whenever the
// time of day is offset seconds past a multiple of interval seconds.
type voteTime struct{ interval, offset int }

// farVote returns a vote that does not come for nearly five minutes.
func farVote(now time.Time) voteTime {
	return voteTime{farInterval, int((now.Unix() - 1) % farInterval)}
}

// nearVote returns a vote that ends in three to four seconds, and is repeated
// soon if it fails.
//
// Authorities send their votes two seconds before the end and count them one
// second before: tor shortens the delays to a quarter of so short an interval.
// So all authorities have at least a second to hear of the new time before the
// first of them votes.
//
// If the next regular vote is only seconds away from this one, it fails. That
// does no harm, for a consensus is valid for three intervals.
func nearVote(now time.Time) voteTime {
	end := now.Add(4*time.Second - time.Nanosecond).Unix()
	return voteTime{nearInterval, int(end % nearInterval)}
}
