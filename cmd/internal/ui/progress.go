package ui

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/keys"
)

// A When says in which case progress is shown.
type When int

const (
	OnTerminal When = iota // while standard error is a terminal
	Always                 // as --progress asks: elsewhere, the last line of each stage
	NotesOnly              // no progress, but facts
	Quiet                  // as --quiet asks: neither; warnings are shown all the same, as git shows its own
)

// throttle is the least time between two states of one progress line: as many
// as an eye can follow.
const throttle = 100 * time.Millisecond

// Progress returns a function that shows the progress of one operation.
// Stages follow one another; the last line of each stays, with ", done.".
func (u *UI) Progress(when When) node.ProgressFunc {
	_, tty := terminal(u.err)
	return u.progress(when, tty)
}

func (u *UI) progress(when When, tty bool) node.ProgressFunc {
	var stage string
	var shown time.Time
	return func(p node.Progress) {
		switch {
		case p.Note != "" && p.Warning:
			u.Warnf("%s", p.Note)
		case p.Note != "" && when != Quiet:
			u.Notef("%s", p.Note)
		}
		if p.Stage == "" || when == NotesOnly || when == Quiet || !tty && (when != Always || !p.Over) {
			return
		}
		if now := time.Now(); p.Over || p.Stage != stage || now.Sub(shown) >= throttle {
			u.show(progressLine(p), p.Over, tty)
			stage, shown = p.Stage, now
		}
	}
}

// show writes one state of a progress line over the one before.
func (u *UI) show(line string, over, tty bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	width := utf8.RuneCountInString(line)
	end := "\n"
	switch {
	case over:
		line += ", done."
	case tty:
		end = "\r"
	}
	pad := max(0, u.line-utf8.RuneCountInString(line))
	u.line = width
	if over {
		u.line = 0
	}
	io.WriteString(u.err, line+strings.Repeat(" ", pad)+end)
}

// progressLine formats a state as git does: title, percentage and count,
// throughput; and how many peers it comes from.
func progressLine(p node.Progress) string {
	var b strings.Builder
	b.WriteString(title(p.Stage))
	b.WriteString(":")
	amount := func(n int64) string {
		if p.Unit == "bytes" {
			return Bytes(n)
		}
		return fmt.Sprint(n)
	}
	switch {
	case p.Total > 0:
		done := min(max(p.Done, 0), p.Total)
		// A float keeps the product of large byte counts from overflowing.
		part, whole := amount(done), amount(p.Total)
		if _, unit, ok := strings.Cut(whole, " "); ok {
			part = strings.TrimSuffix(part, " "+unit) // 5.20/12.30 MiB
		}
		fmt.Fprintf(&b, " %3d%% (%s/%s)", int(float64(done)/float64(p.Total)*100), part, whole)
	case p.Done > 0 || p.Unit != "":
		b.WriteString(" " + amount(p.Done))
		if p.Unit != "" && p.Unit != "bytes" {
			b.WriteString(" " + keys.Printable(p.Unit, 20))
		}
	case !p.Over:
		b.WriteString(" ...")
	}
	if p.Bytes > 0 {
		b.WriteString(", " + Bytes(p.Bytes))
	}
	if p.Rate > 0 {
		b.WriteString(" | " + Bytes(p.Rate) + "/s")
	}
	switch {
	case p.Peers == 1:
		b.WriteString(", 1 peer")
	case p.Peers > 1:
		fmt.Fprintf(&b, ", %d peers", p.Peers)
	}
	return strings.TrimSuffix(b.String(), ":")
}

func title(stage string) string {
	stage = keys.Printable(stage, 60)
	r, size := utf8.DecodeRuneInString(stage)
	return string(unicode.ToUpper(r)) + stage[size:]
}

// Bytes formats a number of bytes as git's progress does: 12.30 MiB.
func Bytes(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.2f KiB", float64(n)/(1<<10))
	case n == 1:
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}
