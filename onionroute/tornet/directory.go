package tornet

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// directory is the HTTP client for the directory ports of nodes.
var directory = &http.Client{
	// A proxy from the environment must not be used.
	Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	Timeout:   5 * time.Second,
}

// neededFlags are the flags that each relay must have in the consensus: without
// one of them it is not used for circuits, as first hop, or for onion services.
var neededFlags = []string{"Fast", "Guard", "HSDir", "Running", "Stable", "V2Dir", "Valid"}

// These match what describes one relay in directory documents.
var (
	descriptorStart = regexp.MustCompile(`(?m)^router `)
	microdescStart  = regexp.MustCompile(`(?m)^onion-key$`)
	flagsLine       = regexp.MustCompile(`(?m)^s (.*)$`)
	microdescDigest = regexp.MustCompile(`(?m)^m ([A-Za-z0-9+/]+)$`)
)

// get returns a document of the node's directory.
func (n *node) get(ctx context.Context, path string) (string, error) {
	url := fmt.Sprintf("http://%s:%d%s", loopback, n.dirPort, path)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := directory.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", path, resp.Status)
	}
	return string(body), nil
}

// knowsRelays returns nil when the authority has the descriptors of want relays.
func (n *node) knowsRelays(ctx context.Context, want int) error {
	doc, err := n.get(ctx, "/tor/server/all")
	if err != nil {
		return err
	}
	if got := len(descriptorStart.FindAllString(doc, -1)); got != want {
		return fmt.Errorf("knows %d of %d relays", got, want)
	}
	return nil
}

// serves returns nil when the node can give a client all that the client needs
// to build circuits: a consensus that lists want relays with all needed flags,
// and the microdescriptors of them all.
func (n *node) serves(ctx context.Context, want int) error {
	consensus, err := n.get(ctx, "/tor/status-vote/current/consensus-microdesc")
	if err != nil {
		return err
	}
	flags := flagsLine.FindAllStringSubmatch(consensus, -1)
	if len(flags) != want {
		return fmt.Errorf("consensus lists %d of %d relays", len(flags), want)
	}
	for _, m := range flags {
		have := " " + m[1] + " "
		for _, f := range neededFlags {
			if !strings.Contains(have, " "+f+" ") {
				return fmt.Errorf("a relay lacks the flag %s in the consensus", f)
			}
		}
	}
	var digests []string
	for _, m := range microdescDigest.FindAllStringSubmatch(consensus, -1) {
		digests = append(digests, m[1])
	}
	doc, err := n.get(ctx, "/tor/micro/d/"+strings.Join(digests, "-"))
	if err != nil {
		return err
	}
	if got := len(microdescStart.FindAllString(doc, -1)); got != want {
		return fmt.Errorf("knows %d of %d microdescriptors", got, want)
	}
	return nil
}
