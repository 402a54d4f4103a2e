package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWeb(t *testing.T) {
	var missing atomic.Pointer[error]
	count := uint64(0)
	listen := "127.0.0.1:" + freePort(t)
	w := newWeb(listen, func() error {
		if err := missing.Load(); err != nil {
			return *err
		}
		return nil
	}, newMetric("allium_test_total", "For the test.", "rule", prometheus.CounterValue, func() map[string]uint64 {
		return map[string]uint64{"resource": count}
	}))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	get := func(path string) (int, string) {
		var r *http.Response
		require.Eventually(t, func() (ok bool) {
			var err error
			r, err = http.Get("http://" + listen + path)
			return err == nil
		}, 5*time.Second, 10*time.Millisecond)
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return r.StatusCode, string(text)
	}
	code, text := get("/metrics")
	assert.Equal(t, http.StatusOK, code)
	assert.Contains(t, text, `allium_test_total{rule="resource"} 0`)
	count = 3
	_, text = get("/metrics")
	assert.Contains(t, text, `allium_test_total{rule="resource"} 3`)
	assert.Contains(t, text, "# TYPE allium_test_total counter")
	assert.NotContains(t, text, "go_info", "the metrics are about Allium")

	for _, path := range []string{"/healthz", "/readyz"} {
		code, _ = get(path)
		assert.Equal(t, http.StatusOK, code, path)
	}
	err := errors.New("tor is not ready")
	missing.Store(&err)
	code, text = get("/readyz")
	assert.Equal(t, http.StatusServiceUnavailable, code)
	assert.Contains(t, text, "tor is not ready")
	code, _ = get("/healthz")
	assert.Equal(t, http.StatusOK, code)
	code, _ = get("/other")
	assert.Equal(t, http.StatusNotFound, code)

	assert.NoError(t, newWeb(listen, nil).run(ctx), "a port that is taken ends nothing else")
	cancel()
	assert.NoError(t, <-ended)
}

// A page that a browser on this machine shows cannot read these, by whatever name it
// calls them.
func TestWebNames(t *testing.T) {
	w := newWeb("", func() error { return nil })
	for host, code := range map[string]int{"127.0.0.1:5380": 200, "localhost:5380": 200, "[::1]:5380": 200, "[::1]": 200, "127.0.0.1": 200,
		"evil.example:5380": 403, "192.0.2.1": 403, "": 403} {
		r := httptest.NewRequest("GET", "/healthz", nil)
		r.Host = host
		got := httptest.NewRecorder()
		w.ServeHTTP(got, r)
		assert.Equal(t, code, got.Code, host)
	}
}
