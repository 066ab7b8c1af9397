package trust

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// Bounds of the decision log.
const (
	maxLogLine     = 256 << 10
	maxLogVerdicts = 50 // per entry; what was refused first
)

// An Action is what a log entry records.
type Action string

// The actions.
const (
	ActionAccept Action = "accept"
	ActionRefuse Action = "refuse"
	ActionRewind Action = "rewind" // accepted because the user asked with --allow-rewind
)

// A LogEntry is one decision about one statement of a publisher.
type LogEntry struct {
	Time       time.Time    `json:"time"`
	Action     Action       `json:"action"`
	Repository refs.Address `json:"repository"`
	Seq        int64        `json:"seq"`
	Number     uint64       `json:"number"`
	Snapshot   refs.Digest  `json:"snapshot"`
	Refs       int          `json:"refs"`
	Verdicts   []Verdict    `json:"verdicts,omitempty"` // those that refused, at most 50
}

// Entry describes a decision for the log.
func (d *Decision) Entry(r *Received) LogEntry {
	e := LogEntry{Time: d.now.UTC().Truncate(time.Second), Action: ActionAccept, Repository: r.Address,
		Seq: r.Seq, Number: r.Record.Number, Snapshot: r.Record.Snapshot, Refs: len(d.Verdicts)}
	if _, err := d.Accept(); err != nil {
		return e.Refused(err)
	}
	if d.rewound {
		e.Action = ActionRewind
	}
	return e
}

// Refused returns the entry as a refusal for the reasons in err.
func (e LogEntry) Refused(err error) LogEntry {
	e.Action = ActionRefuse
	var refused *RefusedError
	if !errors.As(err, &refused) {
		refused = &RefusedError{Verdicts: []Verdict{{Code: Internal, Why: printable(err.Error())}}}
	}
	e.Verdicts = refused.Verdicts[:min(len(refused.Verdicts), maxLogVerdicts)]
	return e
}

// The log is a text file with one entry a line: the SHA-256, in hex, of the
// previous line's hash (64 zeros for the first) and this line's JSON, a space,
// and the JSON. Who changes or removes an entry has to rewrite every line
// after it. Nothing can be found out about lines missing at the end, nor about
// a process of the same user that rewrites the whole file.

// logHash chains a line to the one before it.
func logHash(previous string, body []byte) string {
	h := sha256.New()
	io.WriteString(h, previous)
	h.Write(body)
	return refs.Digest(h.Sum(nil)).String()
}

var logStart = refs.Digest{}.String()

// AppendLog adds an entry to the log in a file, making it if need be. What a
// crash left of an unfinished line is cut off first. The caller sees to it that
// nobody else appends at the same time.
func AppendLog(path string, e LogEntry) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	previous, end, err := lastLine(f)
	if err != nil {
		return err
	}
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line := []byte(logHash(previous, body) + " " + string(body) + "\n")
	if len(line) > maxLogLine {
		return fmt.Errorf("a log entry of %d bytes", len(line))
	}
	if err := f.Truncate(end); err != nil {
		return err
	}
	if _, err := f.WriteAt(line, end); err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// lastLine returns the hash of the last whole line and where it ends.
func lastLine(f *os.File) (hash string, end int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	// An unfinished line and the whole one before it fit into twice the bound.
	start := max(0, info.Size()-2*maxLogLine)
	tail := make([]byte, info.Size()-start)
	if _, err := f.ReadAt(tail, start); err != nil && err != io.EOF {
		return "", 0, err
	}
	whole := bytes.LastIndexByte(tail, '\n') + 1
	if whole == 0 {
		if start > 0 {
			return "", 0, &LogError{Reason: "the last line has no end"}
		}
		return logStart, 0, nil
	}
	last := tail[bytes.LastIndexByte(tail[:whole-1], '\n')+1 : whole]
	hash, _, err = splitLogLine(last)
	return hash, start + int64(whole), err
}

// A LogError says where the chain of a log is broken.
type LogError struct {
	Line   int // from 1; 0 if it is the last
	Reason string
}

func (e *LogError) Error() string {
	if e.Line == 0 {
		return "decision log: " + e.Reason
	}
	return fmt.Sprintf("decision log, line %d: %s", e.Line, e.Reason)
}

func splitLogLine(line []byte) (hash string, body []byte, err error) {
	before, body, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	if _, err := refs.ParseDigest(string(before)); err != nil || !ok {
		return "", nil, &LogError{Reason: "a line without a hash"}
	}
	return string(before), body, nil
}

// ReadLog verifies the chain of a log and gives its entries, oldest first, to
// each, which may be nil. The error is a *LogError at the first line that does
// not fit, what reading said, or each's.
func ReadLog(r io.Reader, each func(LogEntry) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	previous := logStart
	for n := 1; ; n++ {
		line, err := readLogLine(in)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &LogError{Line: n, Reason: err.Error()}
		}
		hash, body, err := splitLogLine(line)
		if err != nil {
			return &LogError{Line: n, Reason: "a line without a hash"}
		}
		if hash != logHash(previous, body) {
			return &LogError{Line: n, Reason: "it does not follow from the line before it"}
		}
		previous = hash
		var e LogEntry
		if err := json.Unmarshal(body, &e); err != nil {
			return &LogError{Line: n, Reason: "unreadable entry"}
		}
		if each != nil {
			if err := each(e); err != nil {
				return err
			}
		}
	}
}

// readLogLine reads one line within the bound. A last line without an end is
// what a crash left; it was never acknowledged, and counts as the end.
func readLogLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxLogLine {
			return nil, malformed("longer than %d bytes", maxLogLine)
		}
		line = append(line, part...)
		switch err {
		case nil:
			return line, nil
		case bufio.ErrBufferFull:
		default:
			return nil, err
		}
	}
}
