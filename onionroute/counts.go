package onionroute

// Counts tells how many peers are known, and how many of them could not be reached when that
// was tried last; how many streams there are with peers, and how many stanzas wait for one;
// and how many octets of memory is taken by what peers have not acknowledged yet. It is safe
// for concurrent use.
func (g *Gateway) Counts() map[string]uint64 {
	g.mu.Lock()
	peers, streams := make([]*peer, 0, len(g.peers)), len(g.inbound)
	for _, p := range g.peers {
		peers = append(peers, p)
	}
	g.mu.Unlock()
	away, waiting := 0, 0
	for _, p := range peers {
		p.mu.Lock()
		if p.down != nil {
			away++
		}
		if p.cur != nil && p.cur.initiator {
			streams++
		}
		waiting += len(p.queue)
		p.mu.Unlock()
	}
	return map[string]uint64{"peers": uint64(len(peers)), "peers_away": uint64(away), "streams": uint64(streams),
		"waiting": uint64(waiting), "waiting_octets": uint64(max(0, g.quota.waits()))}
}
