package onionroute

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"syscall"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// ownWords are the errors whose text is never anybody else's.
var ownWords = []error{ErrTorDown, errSilent, errUnused, errDoubted, errNoTLS, errNotTaken, context.DeadlineExceeded, os.ErrDeadlineExceeded,
	io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, syscall.ENOENT}

// reason is what the log may tell at info of why something failed: words of ours, and
// conditions that XMPP defines. The text of an error can be the peer's, in what is wrong
// with its XML or its certificates, and anybody's address can be in it.
func reason(err error) string {
	var socks *SOCKSError
	var received *component.ReceivedError
	var ours *component.StreamError
	var refused stanza.Error
	var alert tls.AlertError
	switch {
	case errors.As(err, &socks):
		return socks.Error()
	case errors.As(err, &received):
		return received.Error()
	case errors.As(err, &ours):
		return "onionroute: stream error " + ours.Condition.Err
	case errors.As(err, &refused):
		return string(refused.Condition)
	case errors.As(err, &alert):
		return alert.Error()
	}
	for _, own := range ownWords {
		if errors.Is(err, own) {
			return own.Error()
		}
	}
	return "told at level debug"
}

// tell logs a failure: at that level its reason, and its text at debug.
func tell(log *slog.Logger, level slog.Level, what string, err error) {
	log.Log(context.Background(), level, what, "reason", reason(err))
	log.Debug(what, "error", err)
}

// known is a condition as the log may tell it: a peer can call it what it likes.
func known(c stanza.Condition) stanza.Condition {
	if !slices.Contains(plain, c) && c != stanza.RemoteServerNotFound && c != stanza.RemoteServerTimeout {
		return stanza.UndefinedCondition
	}
	return c
}
