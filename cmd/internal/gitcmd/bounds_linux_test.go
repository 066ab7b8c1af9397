package gitcmd

import (
	"errors"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestBounds has processes that would use more than they may.
func TestBounds(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	go func() {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}()
	// One line without end: the shell keeps it in memory.
	err := pipeWithin(exec.CommandContext(t.Context(), "sort"), bounds{memory: 64 << 20}, r, io.Discard)
	r.Close()
	var failed *Error
	if !errors.As(err, &failed) {
		t.Errorf("a process that takes all memory: %v, want a failure", err)
	}
	err = pipeWithin(exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done"), bounds{cpu: 1}, nil, io.Discard)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGXCPU && exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("a process that computes for ever: %v, want it ended", err)
	}
	var out strings.Builder
	if err := pipeWithin(exec.CommandContext(t.Context(), "cat"), bounds{memory: 1 << 30, cpu: 10}, strings.NewReader("x"), &out); err != nil || out.String() != "x" {
		t.Errorf("a process within its bounds: %q, %v", out.String(), err)
	}
	if err := pipeWithin(exec.Command("/nonexistent"), bounds{}, nil, io.Discard); !errors.As(err, &failed) {
		t.Errorf("a program that is not there: %v", err)
	}
}

func TestIndexBounds(t *testing.T) {
	if b := (IndexOptions{MaxInput: 1}).bounds(); b != (bounds{}) {
		t.Errorf("bounds of a pack that declares nothing: %+v, want none", b)
	}
	b := IndexOptions{MaxInput: 10 << 20, Objects: 1000, Inflated: 160 << 20, Object: 1 << 20}.bounds()
	if want := (bounds{memory: 8<<30 + 256000 + 4<<20, cpu: 620}); b != want {
		t.Errorf("bounds %+v, want %+v", b, want)
	}
}
