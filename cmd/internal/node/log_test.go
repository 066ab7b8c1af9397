package node

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

func TestLogFileStaysSmall(t *testing.T) {
	home := shortHome(t)
	if err := os.MkdirAll(home.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(home.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	log := NewLogger(home, f, slog.LevelInfo)
	f.Write(bytes.Repeat([]byte("old line\n"), maxLogBytes/9+1))
	log.Info("the first of the new ones")
	now, err := os.ReadFile(home.LogFile())
	if err != nil || len(now) > 1000 || !strings.Contains(string(now), "the first") {
		t.Errorf("the log has %d bytes, %v, want the new line alone", len(now), err)
	}
	if kept, err := os.ReadFile(home.LogFile() + ".1"); err != nil || !strings.HasPrefix(string(kept), "old line") {
		t.Errorf("log.1 has %d bytes, %v, want the old lines", len(kept), err)
	}
	// A folder in the way: the log goes on growing, and nothing is lost.
	os.Remove(home.LogFile() + ".1")
	os.MkdirAll(home.LogFile()+".1/x", 0o700)
	f.Write(bytes.Repeat([]byte("old line\n"), maxLogBytes/9+1))
	log.Info("another")
	if now, err := os.ReadFile(home.LogFile()); err != nil || len(now) < maxLogBytes || !strings.Contains(string(now), "another") {
		t.Errorf("the log has %d bytes, %v, want all of it", len(now), err)
	}
}

func TestLogElsewhereIsLeftAlone(t *testing.T) {
	var b bytes.Buffer
	NewLogger(shortHome(t), &b, slog.LevelInfo).Info("hello")
	if !strings.Contains(b.String(), "msg=hello") {
		t.Errorf("log %q", b.String())
	}
}

func TestLogRepeats(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(1_790_000_000, 0)
	said := &repeats{now: func() time.Time { return now }, counts: map[string]*repeat{}}
	log := slog.New(&seldom{slog.NewTextHandler(&b, nil), said}).With("node", 1).WithGroup("g")
	for range logRepeats + 5 {
		log.Info("again")
	}
	log.Info("something else")
	if n := strings.Count(b.String(), "again"); n != logRepeats {
		t.Errorf("said %d times, want %d", n, logRepeats)
	}
	if !strings.Contains(b.String(), "something else") {
		t.Error("one message keeps another from being said")
	}
	now = now.Add(logWindow)
	b.Reset()
	log.Info("again")
	if !strings.Contains(b.String(), "left_out=5") {
		t.Errorf("after a while: %q, want how many were left out", b.String())
	}
	for i := range 2 * maxLogMessages {
		log.Info(strings.Repeat("x", i))
	}
	if len(said.counts) > maxLogMessages {
		t.Errorf("%d messages are counted", len(said.counts))
	}
}
