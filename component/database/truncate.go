package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Truncate moves what is in the log into the file, and empties the log, which else keeps
// pages as they were until it is written over. Who writes waits meanwhile, and Truncate
// waits up to patience for who reads or writes; then it is false, and can be tried again.
// It is safe for concurrent use.
func Truncate(ctx context.Context, db *sql.DB, patience time.Duration) (done bool, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		_, again := conn.ExecContext(ctx, setBusy(busyFor))
		err = errors.Join(err, again, conn.Close())
	}()
	if _, err := conn.ExecContext(ctx, setBusy(patience)); err != nil {
		return false, err
	}
	var blocked, inLog, moved int
	err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&blocked, &inLog, &moved)
	return err == nil && blocked == 0, err
}

func setBusy(d time.Duration) string {
	return fmt.Sprintf("PRAGMA busy_timeout = %d", d.Milliseconds())
}
