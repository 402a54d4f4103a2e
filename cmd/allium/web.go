package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/allium-xmpp/allium/muc"
	"github.com/allium-xmpp/allium/onionroute"
)

type webConfig struct {
	Listen string `toml:"listen"`
}

// check refuses addresses that others than this machine reach: nobody has to log in.
func (c *webConfig) check(at func(key, format string, args ...any)) {
	if ip, ok := addressAndPort(c.Listen); !ok || !ip.IsLoopback() {
		at("web.listen", "%q is not a loopback address and a port, such as 127.0.0.1:5380", c.Listen)
	}
}

// A web is what is seen of a running Allium on this machine: metrics for Prometheus, and
// whether it works.
type web struct {
	listen string
	http.Handler
}

// newWeb makes the pages. ready tells what is missing, nil if nothing is.
func newWeb(listen string, ready func() error, metrics ...prometheus.Collector) *web {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics...)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return &web{listen, local(mux)}
}

// local refuses requests for other names, with which pages of others could make a browser
// on this machine read what is here.
func local(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if ip := net.ParseIP(strings.Trim(host, "[]")); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "not here", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// run serves until ctx is done.
func (w *web) run(ctx context.Context) error {
	l, err := net.Listen("tcp", w.listen)
	if err != nil { // what people write to each other does not stop for that
		slog.Error("there are no pages for this machine: free the port, or choose another one in web.listen", "error", err)
		return nil
	}
	s := &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("web: %w", err)
	}
	return nil
}

// A metric is a number for each value of one label, which is kept elsewhere and read when
// somebody asks for it.
type metric struct {
	desc *prometheus.Desc
	typ  prometheus.ValueType
	read func() map[string]uint64 // value of the label → number
}

func newMetric(name, help, label string, typ prometheus.ValueType, read func() map[string]uint64) *metric {
	return &metric{prometheus.NewDesc(name, help, []string{label}, nil), typ, read}
}

func (m *metric) Describe(ch chan<- *prometheus.Desc) { ch <- m.desc }

func (m *metric) Collect(ch chan<- prometheus.Metric) {
	for label, n := range m.read() {
		ch <- prometheus.MustNewConstMetric(m.desc, m.typ, float64(n), label)
	}
}

// gatewayMetrics are the metrics of the federation.
func gatewayMetrics(g *onionroute.Gateway) []prometheus.Collector {
	return []prometheus.Collector{
		newMetric("allium_privacy_rule_total", "Stanzas that a rule of privacy changed or stopped, and streams and connections that others made safe.", "rule",
			prometheus.CounterValue, g.PrivacyCounts),
		newMetric("allium_federation", "Peers that are known, and of them those that could not be reached; streams with peers; stanzas that wait for a peer, and the octets of all that is not acknowledged.",
			"what", prometheus.GaugeValue, g.Counts),
		newMetric("allium_refused_streams_total", "Streams that said to be from somebody whom they are not from.", "name",
			prometheus.CounterValue, g.RefusedCounts),
	}
}

// roomMetrics are the metrics of the rooms. They name no room: how many there are, and
// how many are in them.
func roomMetrics(sv *muc.Service) []prometheus.Collector {
	return []prometheus.Collector{newMetric("allium_rooms", "Rooms, those in memory, and occupants.", "what", prometheus.GaugeValue, sv.Counts)}
}
