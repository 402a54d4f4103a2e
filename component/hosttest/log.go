package hosttest

import (
	"io"
	"os"
	"regexp"
	"strings"
)

const (
	logTail  = 64 << 10 // bytes at the end of the log that are looked at
	logLines = 8        // lines that an error quotes
)

var errorLine = regexp.MustCompile(`(?i)error|critical|fail|cannot|crash`)

// lastErrors quotes the last error lines that came into the log file after the
// offset from, or its last lines if none looks like an error.
func lastErrors(file string, from int64) string {
	f, err := os.Open(file)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	defer f.Close()
	size := fileSize(file)
	from = max(from, size-logTail)
	text, err := io.ReadAll(io.NewSectionReader(f, from, size-from))
	if err != nil {
		return "(" + err.Error() + ")"
	}
	var all, bad []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if strings.Trim(line, " \t*") == "" {
			continue
		}
		all = append(all, line)
		if errorLine.MatchString(line) {
			bad = append(bad, line)
		}
	}
	if len(bad) == 0 {
		bad = all
	}
	if len(bad) == 0 {
		return "(nothing logged)"
	}
	return strings.Join(bad[max(0, len(bad)-logLines):], "\n")
}

// fileSize is the size of a file in bytes, 0 if there is none.
func fileSize(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}
