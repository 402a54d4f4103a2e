package hosttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// probeTimeout bounds one attempt to reach the server while it starts.
const probeTimeout = 2 * time.Second

const streamHeader = `<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='%s' to='%s' version='1.0'>`

// probeClient reports whether clients of domain can log in at addr. An open
// port alone would not tell that the domain is served.
func probeClient(ctx context.Context, addr, domain string) error {
	return probeStream(ctx, addr, fmt.Sprintf(streamHeader, "jabber:client", domain), "</stream:features>")
}

// probeComponent reports whether a component of that domain is greeted at addr.
func probeComponent(ctx context.Context, addr, domain string) error {
	return probeStream(ctx, addr, fmt.Sprintf(streamHeader, "jabber:component:accept", domain), "<stream:stream")
}

// probeStream opens a stream and reads until want comes.
func probeStream(ctx context.Context, addr, header, want string) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	// Do not outlast ctx while reading.
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	if _, err := io.WriteString(conn, header); err != nil {
		return err
	}
	var got []byte
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		got = append(got, buf[:n]...)
		switch {
		case bytes.Contains(got, []byte("<stream:error")):
			return fmt.Errorf("%s answers %q", addr, got)
		case bytes.Contains(got, []byte(want)):
			_, err := io.WriteString(conn, "</stream:stream>")
			return err
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%s closed the stream after %q", addr, got)
		case err != nil:
			return err
		}
	}
}

// probePort reports whether addr accepts connections.
func probePort(ctx context.Context, addr string) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: probeTimeout}
	conn, err := d.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(probeTimeout))
}
