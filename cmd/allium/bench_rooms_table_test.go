package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A roomTable holds figures of services, and prints how they compare.
type roomTable struct {
	title   string
	rows    []string
	names   []string          // of services
	limits  map[string]string // the limit of each service
	figures map[[2]string][]float64
}

func newRoomTable(title string) *roomTable {
	return &roomTable{title: title, limits: map[string]string{}, figures: map[[2]string][]float64{}}
}

// add adds one measurement of a service.
func (t *roomTable) add(s *roomService, row string, v float64) {
	if _, known := t.limits[s.name]; !known {
		t.names, t.limits[s.name] = append(t.names, s.name), s.limit
	}
	at := [2]string{row, s.name}
	if !slices.Contains(t.rows, row) {
		t.rows = append(t.rows, row)
	}
	t.figures[at] = append(t.figures[at], v)
}

// addCPU adds the CPU time of each of n.
func (t *roomTable) addCPU(s *roomService, of string, n int, took roomsUse) {
	t.add(s, "CPU µs "+of+", service", took.service/float64(n)*1e6)
	if s.venue.host != 0 {
		t.add(s, "CPU µs "+of+", service and host", (took.service+took.host)/float64(n)*1e6)
	}
}

// ratios are those of what was measured in the same round.
func ratios(a, b []float64) (r []float64) {
	for i := range a {
		r = append(r, a[i]/b[i])
	}
	return r
}

var metricName = strings.NewReplacer(" ", "_", ",", "", ":", "") // makes a name one of a metric

// print prints the medians, with the median ratios to those of Prosody's and ejabberd's own
// rooms, and of the limit on the same way, and reports them.
func (t *roomTable) print(b *testing.B) {
	fmt.Printf("\n%s\n", t.title)
	for _, row := range t.rows {
		for _, name := range t.names {
			all := t.figures[[2]string{row, name}]
			if all == nil {
				continue
			}
			v := quantile(all, 0.5)
			fmt.Printf("%-44s %-16s %12.2f", row, name, v)
			for _, peer := range []string{"Prosody", "ejabberd", t.limits[name]} {
				if of := t.figures[[2]string{row, peer}]; of != nil && peer != name {
					fmt.Printf("  ×%.3g %s", quantile(ratios(all, of), 0.5), peer)
				}
			}
			fmt.Println()
			b.ReportMetric(v, metricName.Replace(row+" "+name))
		}
	}
	b.ReportMetric(0, "ns/op")
}

// memory is the memory that a process has, in octets (proc(5)).
func memory(b *testing.B, pid int) int {
	return procLine(b, fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Rss")
}

// peakMemory is the most memory that a process has had, in octets.
func peakMemory(b *testing.B, pid int) int {
	return procLine(b, fmt.Sprintf("/proc/%d/status", pid), "VmHWM")
}

func procLine(b *testing.B, file, line string) int {
	text, err := os.ReadFile(file)
	require.NoError(b, err)
	_, rest, found := strings.Cut(string(text), "\n"+line+":")
	require.True(b, found, line)
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(b, err)
	return n << 10
}

func kibi(octets int) float64 { return float64(octets) / (1 << 10) }
func mebi(octets int) float64 { return float64(octets) / (1 << 20) }
