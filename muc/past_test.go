package muc

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// texts are the messages of a history, the oldest first.
func (h *history) texts() []string {
	texts := []string{}
	for _, xml := range h.newest() {
		texts = append(texts, string(xml))
	}
	slices.Reverse(texts)
	return texts
}

// What was added is there as it was, whatever went before, behind and between.
func TestHistoryAddsAndDrops(t *testing.T) {
	var h history
	want := []string{}
	for i := range 200 {
		text := strings.Repeat(fmt.Sprint(i, " "), i%7)
		h.add(past{id: int64(i)}, []byte(text), 20)
		require.Equal(t, int64(i), h.list[len(h.list)-1].id)
		want = append(want, text)
		want = want[max(0, len(want)-20):]
		if i%3 == 0 {
			k := i % len(want)
			h.drop(k, k+1)
			want = slices.Delete(want, k, k+1)
		}
		require.Equal(t, want, h.texts())
	}
}

// A history is little larger than what is in it, also after it was large, and nothing of
// what was dropped is left behind the rest.
func TestHistoryIsSmall(t *testing.T) {
	var h history
	for range 100 {
		h.add(past{}, make([]byte, 250), 20)
		require.LessOrEqual(t, cap(h.xml), len(h.xml)*5/4+16)
		require.LessOrEqual(t, cap(h.list), len(h.list)+4)
	}
	h.add(past{}, []byte(strings.Repeat("secret", 10_000)), 20)
	for range 20 {
		h.add(past{}, make([]byte, 250), 20)
	}
	require.LessOrEqual(t, cap(h.xml), 20*250*2+pastOverhead)
	require.NotContains(t, string(h.xml[:cap(h.xml)]), "secret")
	h.add(past{}, make([]byte, maxHistory), 20)
	require.Empty(t, h.list, "too large for any history")
}

// What was last done in a room is not kept while it is quiet.
func TestQuietRoomKeepsNoStanza(t *testing.T) {
	w := newCoven(t)
	a := w.sv.awake("coven")
	require.Nil(t, a.doing.s)
	require.Nil(t, a.room.out)
}
