package trust

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

func TestA43LogIsChained(t *testing.T) {
	w, p, pins, first, tip, alice := published(t)
	path := filepath.Join(t.TempDir(), "log")
	d := Decide(p, nil, w.publish(branch("main", tip)), w.objects, now)
	bad := Decide(p, pins, w.publish(branch("main", w.commit(nil, day(2), tip))), w.objects, now)
	next := w.commit(alice, day(2), tip)
	pins = w.accept(p, pins, w.publish(branch("main", next)))
	back := Decide(p.WithRewind(), pins, w.publish(branch("main", tip)), w.objects, now)
	early := LogEntry{Time: now, Repository: w.address}.Refused(refuse(Rollback, "too old", ""))
	for _, e := range []LogEntry{d.Entry(first.received), bad.Entry(first.received), back.Entry(first.received), early} {
		if err := AppendLog(path, e); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []Action
	var codes []Code
	err = ReadLog(bytes.NewReader(text), func(e LogEntry) error {
		got = append(got, e.Action)
		for _, v := range e.Verdicts {
			codes = append(codes, v.Code)
		}
		return nil
	})
	if err != nil || len(got) != 4 || got[0] != ActionAccept || got[1] != ActionRefuse || got[2] != ActionRewind || got[3] != ActionRefuse {
		t.Fatalf("ReadLog() = %v, %v, want accept, refuse, rewind, refuse", got, err)
	}
	if len(codes) != 2 || codes[0] != Unsigned || codes[1] != Rollback {
		t.Errorf("codes = %v, want unsigned, rollback", codes)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	var broken *LogError
	for name, changed := range map[string][]byte{
		"changed": bytes.Replace(text, []byte(`"refuse"`), []byte(`"accept"`), 1),
		"removed": bytes.Join(append(append([][]byte{}, lines[0]), lines[2:]...), nil),
		"swapped": bytes.Join([][]byte{lines[1], lines[0], lines[2]}, nil),
		"first":   bytes.Join(lines[1:], nil),
		"junk":    append(bytes.Clone(text), "junk\n"...),
	} {
		if err := ReadLog(bytes.NewReader(changed), nil); !errors.As(err, &broken) {
			t.Errorf("%s: ReadLog() = %v, want a *LogError", name, err)
		}
	}
	// A crash in the middle of an append leaves half a line. It was never
	// acknowledged, and the next append replaces it.
	os.WriteFile(path, append(bytes.Clone(text), lines[0][:100]...), 0o600)
	if err := AppendLog(path, early); err != nil {
		t.Fatal(err)
	}
	text, _ = os.ReadFile(path)
	n := 0
	if err := ReadLog(bytes.NewReader(text), func(LogEntry) error { n++; return nil }); err != nil || n != 5 {
		t.Errorf("after a crash: %d entries, %v, want 5", n, err)
	}
}

func FuzzLog(f *testing.F) {
	path := filepath.Join(f.TempDir(), "log")
	AppendLog(path, LogEntry{Time: now, Action: ActionAccept, Repository: refs.Address{Publisher: newWorld(f).publisher.ID(), Name: "tools"}})
	text, _ := os.ReadFile(path)
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) { ReadLog(bytes.NewReader(text), nil) })
}
