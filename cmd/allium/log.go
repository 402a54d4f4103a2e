package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
)

// newLogger makes the logger of the whole program. Attributes that name peers and
// users are written as a short name that stays the same until the program ends, and
// tells nothing to those who read the log later, unless the configuration says that
// addresses may be in it.
// The level can be changed later.
func newLogger(w io.Writer, c logConfig, level *slog.LevelVar) *slog.Logger {
	level.Set(c.level())
	key := make([]byte, 16)
	rand.Read(key)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if c.Addresses || a.Key != "peer" && a.Key != "user" {
				return a
			}
			h := hmac.New(sha256.New, key)
			h.Write([]byte(a.Value.String()))
			return slog.String(a.Key, a.Key+"-"+hex.EncodeToString(h.Sum(nil)[:4]))
		}}))
}

// level is the level that is written, or info.
func (c logConfig) level() (level slog.Level) {
	if c.Level != "" {
		level.UnmarshalText([]byte(c.Level)) // checked by config.check
	}
	return level
}

// quiet is a logger for what nobody reads.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
