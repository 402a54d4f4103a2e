package onionroute

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"github.com/allium-xmpp/allium/component/database"
)

// online keeps who is on-line, or not any more. What is lost of it by a crash is a
// contact that stays on-line until the next word from it.
func (s *spool) online(onion string, who []acquaintance, is bool) {
	if len(who) == 0 {
		return
	}
	s.do(database.Op{Do: func(tx *sql.Tx) error {
		query := "DELETE FROM online WHERE peer = ? AND from_jid = ? AND to_jid = ?"
		if is {
			query = "INSERT OR IGNORE INTO online (peer, from_jid, to_jid) VALUES (?,?,?)"
		}
		for _, a := range who {
			if _, err := tx.Exec(query, onion, a.from, a.to); err != nil {
				return err
			}
		}
		return nil
	}})
}

// load reads who was on-line, and the contacts. Of those who were on-line it takes no more
// than there is room for.
func (c *contacts) load() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.loadMet(); err != nil {
		return err
	}
	over, err := c.loadOnline()
	for onion, who := range over {
		c.spool.online(onion, who, false)
	}
	return err
}

// peers are those at which somebody is on-line.
func (c *contacts) peers() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.online))
}

// drop forgets those who are on-line and that which is true of, and gives them.
func (c *contacts) drop(which func(onion string, a acquaintance) bool) (all []acquaintance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for onion, who := range c.online {
		var out []acquaintance
		for a := range who {
			if which(onion, a) {
				out = append(out, a)
			}
		}
		c.remove(onion, out)
		all = append(all, out...)
	}
	return all
}

func (c *contacts) loadOnline() (over map[string][]acquaintance, err error) {
	rows, err := c.spool.db.Query("SELECT peer, from_jid, to_jid FROM online")
	if err != nil {
		return nil, fmt.Errorf("onionroute: spool: %w", err)
	}
	defer rows.Close()
	over = map[string][]acquaintance{}
	for rows.Next() {
		var onion string
		var a acquaintance
		if err := rows.Scan(&onion, &a.from, &a.to); err != nil {
			return nil, fmt.Errorf("onionroute: spool: %w", err)
		}
		if n := noteOctets(a.from, a.to); c.octets[onion]+n > c.bounds.ofPeer || c.total+n > c.bounds.notes {
			over[onion] = append(over[onion], a)
		} else {
			c.hold(onion, a)
		}
	}
	return over, rows.Err()
}
