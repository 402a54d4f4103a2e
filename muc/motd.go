package muc

import (
	"database/sql"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/allium-xmpp/allium/component"
)

// maxTold bounds those who are remembered to have seen the message of the day.
const maxTold = 100_000

// A motd is the message of the day, which everybody gets once who enters a room, or is in
// one (XEP-0133 §4.24). It is safe for concurrent use.
type motd struct {
	mu   sync.Mutex
	day  day
	told map[string]bool // bare JIDs
	last int64           // that next gave
}

// A day is a message of the day, and when it was set, in microseconds since 1970, which
// tells it from others. Without text there is none.
type day struct {
	Text string `json:"text"`
	Set  int64  `json:"set"`
}

// due is what somebody is to be told now. A nil motd has nothing to tell.
func (m *motd) due(bare string) (d day, ok bool) {
	if m == nil {
		return d, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.day.Text == "" || m.told[bare] || len(m.told) >= maxTold {
		return m.day, false
	}
	m.told[bare] = true
	return m.day, true
}

func (m *motd) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.day.Text
}

// next is another message, for change.
func (m *motd) next(text string, now time.Time) day {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = max(now.UnixMicro(), m.day.Set+1, m.last+1)
	return day{Text: text, Set: m.last}
}

// change makes it another message, which nobody was told yet.
func (m *motd) change(d day) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.day, m.told = d, map[string]bool{}
}

// untold takes back that somebody is told, which could not be stored.
func (m *motd) untold(c saveTold) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Day == m.day.Set {
		delete(m.told, c.JID)
	}
}

// sendMessageOfTheDay tells a client of the message of the day, from the service.
func (r *room) sendMessageOfTheDay(ses *session) {
	bare := ses.occ.bare().String()
	d, ok := r.motd.due(bare)
	if !ok {
		return
	}
	r.change(saveTold{JID: bare, Day: d.Set})
	m := &component.Stanza{Kind: component.Message, From: r.addr.Domain()}
	m.Add(component.NewElement(component.NSClient, "body", component.Text(d.Text)))
	r.copy(component.NewDraft(m, nil, nil, nil), &ses.to, true)
}

// motdName is what the message of the day is called in the store.
const motdName = "message of the day"

// saveMOTD stores the message of the day.
type saveMOTD struct{ Day day }

func (c saveMOTD) apply(t *transaction) error {
	v, err := json.Marshal(c.Day)
	if err != nil {
		return err
	}
	if err := t.exec("DELETE FROM told WHERE motd <> ?", c.Day.Set); err != nil {
		return err
	}
	return t.exec("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", motdName, v)
}

// saveTold stores that somebody has been told.
type saveTold struct {
	JID string
	Day int64
}

func (c saveTold) apply(t *transaction) error {
	return t.exec("INSERT INTO told (jid, motd) VALUES (?, ?) ON CONFLICT (jid) DO UPDATE SET motd = excluded.motd", c.JID, c.Day)
}

// loadMOTD reads the message of the day, and who was told.
func (st *Store) loadMOTD(m *motd) error {
	m.told = map[string]bool{}
	var v []byte
	err := st.db.QueryRow("SELECT value FROM meta WHERE name = ?", motdName).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	} else if err != nil {
		return err
	}
	if err := json.Unmarshal(v, &m.day); err != nil {
		return err
	}
	return st.each("SELECT jid FROM told WHERE motd = ?", func(scan func(...any) error) error {
		var bare string
		err := scan(&bare)
		m.told[bare] = true
		return err
	}, m.day.Set)
}
