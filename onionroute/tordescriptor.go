package onionroute

import (
	"context"
	"strings"
	"time"

	"github.com/cretz/bine/control"
)

// What tor tells of descriptors (Tor's control-spec, HS_DESC).
const (
	descUploaded  = "UPLOADED"
	descRequested = "REQUESTED"
	descReceived  = "RECEIVED"
	descFailed    = "FAILED"
)

// descriptor takes note of what happened to the descriptor of an onion service.
func (t *Tor) descriptor(onion, action string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if action == descUploaded && !t.uploaded[onion] {
		t.uploaded[onion] = true
		t.log.Info("onion service is published", "onion", onion)
	}
	for ch := range t.fetches[onion] {
		select {
		case ch <- action:
		default:
		}
	}
}

// Refresh makes tor fetch the descriptor of an onion service anew, and waits for it,
// for a while. It tells if there is one. After a failure tor may know only introduction
// points that are gone, and find out by minutes of time-outs.
func (t *Tor) Refresh(ctx context.Context, onion string) bool {
	ch := make(chan string, 50) // each of some ten directories is asked, and answers
	t.mu.Lock()
	ctl := t.ctl
	if t.fetches[onion] == nil {
		t.fetches[onion] = map[chan string]bool{}
	}
	t.fetches[onion][ch] = true
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.fetches[onion], ch)
		if len(t.fetches[onion]) == 0 {
			delete(t.fetches, onion)
		}
	}()
	if ctl == nil {
		return false
	}
	if err := ctl.do(func(c *control.Conn) error {
		return c.GetHiddenServiceDescriptorAsync(strings.TrimSuffix(onion, ".onion"), "")
	}); err != nil {
		t.log.Debug("tor does not fetch a descriptor", "error", err)
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	return fetched(ctx, ch)
}

// fetched waits until one of the directories that tor asks has the descriptor, and tells if
// that is so. Of the last one that has not, tor does not say that it is the last.
func fetched(ctx context.Context, actions <-chan string) bool {
	var last <-chan time.Time
	for {
		select {
		case action := <-actions:
			switch action {
			case descReceived:
				return true
			case descFailed:
				last = time.After(fetchNext)
			case descRequested:
				last = nil
			}
		case <-last:
			return false
		case <-ctx.Done():
			return false
		}
	}
}
