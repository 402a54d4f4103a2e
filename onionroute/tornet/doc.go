// Package tornet starts a private Tor network on loopback, made of real tor
// processes, and ends it again. Nothing of it reaches the outside: every
// address is 127.0.0.1, no name is ever looked up, and no relay is an exit.
//
// The network has three directory authorities, which also relay, and four
// further relays. That is enough for onion services to be published and
// reached. It has no exits, so a client can reach onion services only.
//
// # How a network starts
//
// Directory authorities agree on the list of relays (the consensus) at fixed
// times. A first vote that comes too early leaves relays out; one that comes
// late is time lost. So [Start] puts the first vote far off, waits until every
// authority knows every relay, and only then moves the vote to the next
// seconds. When the authorities have the consensus it tells the relays to fetch
// it at once, and returns when every relay can serve to clients all that a
// client needs: the consensus and the descriptors of all relays.
//
// From then on the authorities vote every five minutes, so that the network
// lives as long as its processes do and clients may join at any time. If the
// machine sleeps for longer than a consensus is valid, the authorities make a
// new one within seconds after it wakes.
//
// # Clients
//
// A client is any tor process that is given the file named by [Network.Torrc],
// with a data directory and ports of its own:
//
//	tor -f TORRC --DataDirectory DIR --SocksPort 9050
//
// # Distance
//
// On one machine a round trip takes milliseconds, and what waits for many of them looks
// as fast as what waits for one. [Options].Delay puts a proxy before each relay that
// lets through what comes some time later, and so makes it as far away as it would be.
//
// # Security
//
// The network is for tests and demonstrations. All of its keys lie unencrypted
// in its folder, its relays all belong to one person, and any user of the
// machine can reach its ports.
package tornet
