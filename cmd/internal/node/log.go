package node

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A node runs for months, and peers decide what happens to it. So its log is
// bounded in two ways: in size, and in how often it says one thing.

const (
	// maxLogBytes is the size of the log at which its beginning moves to log.1,
	// in the place of what is there.
	maxLogBytes = 4 << 20
	// logRepeats is how often one message is written in logWindow; the next one
	// after that says how many were left out.
	logRepeats = 20
	logWindow  = time.Minute
	// maxLogMessages bounds the messages that are counted. They are constants in
	// the program, but for those of the library.
	maxLogMessages = 1000
)

// NewLogger makes the log of a node that writes to w, its standard error. If
// that is the log file of the home, the file is kept small.
func NewLogger(h Home, w io.Writer, level slog.Leveler) *slog.Logger {
	if f, ok := w.(*os.File); ok && sameFile(f, h.LogFile()) {
		w = &logFile{f: f, path: h.LogFile()}
	}
	text := slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
	return slog.New(&seldom{text, &repeats{now: time.Now, counts: map[string]*repeat{}}})
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// A logFile is a file that is appended to and cut off where it grows too large.
// It stays the same file, for the runtime writes a crash to its descriptor.
type logFile struct {
	mu   sync.Mutex // guards what follows
	f    *os.File
	path string
}

// Write appends b.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if info, err := l.f.Stat(); err == nil && info.Size() >= maxLogBytes {
		l.rotate() // what fails here, the next line tries again
	}
	return l.f.Write(b)
}

func (l *logFile) rotate() error {
	old, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer old.Close()
	kept, err := os.OpenFile(l.path+".1", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer kept.Close()
	if _, err := io.Copy(kept, io.LimitReader(old, 2*maxLogBytes)); err != nil {
		return err
	}
	return l.f.Truncate(0)
}

// seldom passes on what has not been said too often.
type seldom struct {
	slog.Handler
	said *repeats
}

// repeats counts what was said.
type repeats struct {
	now func() time.Time

	mu     sync.Mutex // guards what follows
	counts map[string]*repeat
}

type repeat struct {
	since   time.Time
	said    int
	skipped int
}

// Handle implements slog.Handler.
func (s *seldom) Handle(ctx context.Context, r slog.Record) error {
	skipped, ok := s.said.count(r.Level.String() + " " + r.Message)
	if !ok {
		return nil
	}
	if skipped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("left_out", skipped))
	}
	return s.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (s *seldom) WithAttrs(a []slog.Attr) slog.Handler {
	return &seldom{s.Handler.WithAttrs(a), s.said}
}

// WithGroup implements slog.Handler.
func (s *seldom) WithGroup(name string) slog.Handler {
	return &seldom{s.Handler.WithGroup(name), s.said}
}

// count reports whether a message may be written, and how many were not since
// the last one.
func (c *repeats) count(message string) (skipped int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	m := c.counts[message]
	if m == nil {
		if len(c.counts) >= maxLogMessages {
			clear(c.counts)
		}
		m = &repeat{since: now}
		c.counts[message] = m
	}
	if now.Sub(m.since) >= logWindow {
		m.since, m.said = now, 0
	}
	if m.said >= logRepeats {
		m.skipped++
		return 0, false
	}
	skipped, m.skipped = m.skipped, 0
	m.said++
	return skipped, true
}
