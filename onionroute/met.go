package onionroute

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/allium-xmpp/allium/component/database"
)

// met are the contacts of accounts here: whom they subscribed to or sent presence. It is
// kept in the spool, since a user can stay on-line for longer than we run, and forgets
// what was not seen again for a long time. Each account has room for many; when there are
// too many in all, who has most loses those that were not seen for longest. Addresses are
// bare. It is guarded by contacts.mu.
type met struct {
	of     map[string]map[string]meeting // account → contact →
	at     map[string]map[string]int     // X.onion → account → contacts there
	octets map[string]int                // account →
	total  int
}

type meeting struct {
	onion string
	day   int64 // when it was seen last, in days since 1970
	shown bool  // it was told when the account is on-line, as its contact
}

const contactDays = 90 // until a contact that was not seen is forgotten

func newMet() met {
	return met{of: map[string]map[string]meeting{}, at: map[string]map[string]int{}, octets: map[string]int{}}
}

func today() int64 { return time.Now().Unix() / (24 * 60 * 60) }

// noteOctets is what it costs to know something of two addresses.
func noteOctets(from, to string) int { return len(from) + len(to) + 100 }

// put takes a contact in, and tells who had to make room for it.
func (m *met) put(a acquaintance, is meeting, b *bounds) (out []acquaintance) {
	n := noteOctets(a.from, a.to)
	m.remove(a)
	for m.octets[a.to] > 0 && m.octets[a.to]+n > b.ofAccount {
		out = append(out, m.removeOldest(a.to))
	}
	for m.total > 0 && m.total+n > b.contacts {
		most := a.to
		for who, octets := range m.octets {
			if octets > m.octets[most] {
				most = who
			}
		}
		out = append(out, m.removeOldest(most))
	}
	if m.of[a.to] == nil {
		m.of[a.to] = map[string]meeting{}
	}
	if m.at[is.onion] == nil {
		m.at[is.onion] = map[string]int{}
	}
	m.of[a.to][a.from] = is
	m.at[is.onion][a.to]++
	m.octets[a.to] += n
	m.total += n
	return out
}

func (m *met) removeOldest(who string) acquaintance {
	oldest := ""
	for contact, at := range m.of[who] {
		if oldest == "" || at.day < m.of[who][oldest].day {
			oldest = contact
		}
	}
	a := acquaintance{oldest, who}
	m.remove(a)
	return a
}

func (m *met) remove(a acquaintance) bool {
	was, known := m.of[a.to][a.from]
	if !known {
		return false
	}
	n := noteOctets(a.from, a.to)
	delete(m.of[a.to], a.from)
	m.total -= n
	if m.octets[a.to] -= n; m.octets[a.to] == 0 {
		delete(m.octets, a.to)
		delete(m.of, a.to)
	}
	if m.at[was.onion][a.to]--; m.at[was.onion][a.to] == 0 {
		delete(m.at[was.onion], a.to)
	}
	if len(m.at[was.onion]) == 0 {
		delete(m.at, was.onion)
	}
	return true
}

// meet takes note that an account here has business with somebody, and if it is one who is told
// when it is on-line. c.mu is held.
func (c *contacts) meet(onion string, a acquaintance, shown bool) {
	was, known := c.met.of[a.to][a.from]
	is := meeting{onion, today(), shown || was.shown}
	if known && is.day == was.day && is.shown == was.shown {
		return
	}
	c.spool.unmeet(c.met.put(a, is, c.bounds))
	c.spool.do(database.Op{Lazy: true, Do: func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO met (contact, account, peer, day, shown) VALUES (?,?,?,?,?) ON CONFLICT (contact, account) DO UPDATE SET day = excluded.day, shown = excluded.shown",
			a.from, a.to, onion, is.day, is.shown)
		return err
	}})
}

// hide takes note that somebody is not told any more. c.mu is held.
func (c *contacts) hide(a acquaintance) {
	was, known := c.met.of[a.to][a.from]
	if !known || !was.shown {
		return
	}
	was.shown = false
	c.met.of[a.to][a.from] = was
	c.spool.do(database.Op{Lazy: true, Do: func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE met SET shown = 0 WHERE contact = ? AND account = ?", a.from, a.to)
		return err
	}})
}

// part forgets a contact. c.mu is held.
func (c *contacts) part(a acquaintance) {
	if c.met.remove(a) {
		c.spool.unmeet([]acquaintance{a})
	}
}

// some are accounts here that have contacts at a peer, n at most.
func (c *contacts) some(onion string, n int) (accounts []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for who := range c.met.at[onion] {
		if len(accounts) == n {
			break
		}
		accounts = append(accounts, who)
	}
	return accounts
}

// forgetOld forgets the contacts that were not seen for long.
func (c *contacts) forgetOld() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var old []acquaintance
	for who, of := range c.met.of {
		for contact, at := range of {
			if at.day < today()-contactDays {
				old = append(old, acquaintance{contact, who})
			}
		}
	}
	for _, a := range old {
		c.met.remove(a)
	}
	c.spool.unmeet(old)
}

func (c *contacts) loadMet() error {
	rows, err := c.spool.db.Query("SELECT contact, account, peer, day, shown FROM met")
	if err != nil {
		return fmt.Errorf("onionroute: spool: %w", err)
	}
	defer rows.Close()
	var out []acquaintance
	for rows.Next() {
		var a acquaintance
		var at meeting
		if err := rows.Scan(&a.from, &a.to, &at.onion, &at.day, &at.shown); err != nil {
			return fmt.Errorf("onionroute: spool: %w", err)
		}
		out = append(out, c.met.put(a, at, c.bounds)...)
	}
	c.spool.unmeet(out)
	return rows.Err()
}

// unmeet forgets contacts.
func (s *spool) unmeet(who []acquaintance) {
	if len(who) == 0 {
		return
	}
	s.do(database.Op{Lazy: true, Do: func(tx *sql.Tx) error {
		for _, a := range who {
			if _, err := tx.Exec("DELETE FROM met WHERE contact = ? AND account = ?", a.from, a.to); err != nil {
				return err
			}
		}
		return nil
	}})
}
