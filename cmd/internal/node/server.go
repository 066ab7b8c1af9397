package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gitpeer/gitpeer/trust"
)

// maxRequest bounds the body of a request: a push of the largest number of
// refs that a snapshot may hold fits.
const maxRequest = 64 << 20

// listenSocket makes the node's socket in a folder that only the user can
// enter. The caller holds the lock of the home, so a socket that is there
// already belongs to nobody.
func listenSocket(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := private(dir); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return &peerListener{l}, nil
}

// A peerListener accepts only connections of processes of the same user.
type peerListener struct{ net.Listener }

func (l *peerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if uid, known := peerUID(c); !known || uid == os.Getuid() {
			return c, nil
		}
		c.Close()
	}
}

// serve answers requests until ctx ends, then lets running ones finish for a
// few seconds.
func (n *Node) serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("POST /v1/status", handle(n.log, n.status))
	mux.Handle("POST /v1/publish", handle(n.log, n.publish))
	mux.Handle("POST /v1/push", handle(n.log, n.push))
	mux.Handle("POST /v1/settle", handle(n.log, n.settle))
	mux.Handle("POST /v1/fetch", handle(n.log, n.fetch))
	mux.Handle("POST /v1/resolve", handle(n.log, n.resolve))
	mux.Handle("POST /v1/show", handle(n.log, n.show))
	mux.Handle("POST /v1/export", handle(n.log, n.export))
	mux.Handle("POST /v1/stop", handle(n.log, func(context.Context, Empty, ProgressFunc) (*Empty, error) {
		n.stop()
		return &Empty{}, nil
	}))
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return running },
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelWarn),
	}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer stop()
		err := srv.Shutdown(grace)
		cancel()
		ending, stop := context.WithTimeout(context.WithoutCancel(ctx), endingGrace)
		defer stop()
		if err != nil { // what goes on has its turn to end, and to say so
			err = srv.Shutdown(ending)
		}
		done <- errors.Join(err, srv.Close())
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	if err := <-done; err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// shutdownGrace is how long operations may go on once the node is told to stop.
const shutdownGrace = 3 * time.Second

// endingGrace is how long an operation may take to end once it was cancelled: an
// acceptance that was begun is finished. What takes longer is finished by the
// next node.
const endingGrace = 5 * time.Second

// An operation is one entry of the interface.
type operation[Req, Res any] func(context.Context, Req, ProgressFunc) (*Res, error)

// handle serves an operation as a stream of events.
func handle[Req, Res any](log *slog.Logger, op operation[Req, Res]) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req Req
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&req); err != nil {
			http.Error(w, fmt.Sprintf("request is not understood: %v", err), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		out := &eventWriter{w: w, control: http.NewResponseController(w), gone: cancel}
		out.control.Flush() // the headers: somebody is there
		defer out.beat()()
		res, err := guarded(log, op, ctx, req, out.progress)
		if err != nil {
			e := asError(err)
			log.Info("operation failed", "operation", r.URL.Path, "code", int(e.Code), "error", e.Message)
			out.end(Event{Error: e})
			return
		}
		out.end(Event{Result: res})
	})
}

// guarded runs an operation; a panic in it is an internal error, never a
// success (TRUST.md A39), and does not take the node down.
func guarded[Req, Res any](log *slog.Logger, op operation[Req, Res], ctx context.Context, req Req, progress ProgressFunc) (res *Res, err error) {
	err = guard(log, func() (err error) {
		res, err = op(ctx, req, progress)
		return err
	})()
	return res, err
}

// guard makes a panic in f an internal error. A goroutine that an operation
// starts needs its own: what recovers in one does not in another.
func guard(log *slog.Logger, f func() error) func() error {
	return func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				log.Error("panic", "value", p, "stack", string(debug.Stack()))
				err = errorf(trust.Internal, "please report this with the node's log", "internal error: %v", p)
			}
		}()
		return f()
	}
}

// An eventWriter writes events one at a time. What comes after the last one,
// from a download that is still ending, is dropped.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	gone    func() // ends the operation: nobody reads what it says

	mu    sync.Mutex // guards ended, and writing
	ended bool
}

func (e *eventWriter) progress(p Progress) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.send(Event{Progress: &p})
}

// heartbeat is how often a caller hears from an operation that has nothing to
// say, such as git resolving the deltas of a large pack.
const heartbeat = 5 * time.Second

// beat sends empty progress until the function that it returns is called.
func (e *eventWriter) beat() (stop func()) {
	tick := time.NewTicker(heartbeat)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-tick.C:
				e.progress(Progress{})
			case <-done:
				return
			}
		}
	}()
	return func() {
		tick.Stop()
		close(done)
	}
}

func (e *eventWriter) end(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.send(ev)
	e.ended = true
}

// writeWithin is how long a caller may leave an event unread. One that was
// stopped (Ctrl-Z) holds its operation up for so long, and then is given up.
const writeWithin = time.Minute

// send writes one event. An error means that the caller has gone, or reads no
// more.
func (e *eventWriter) send(ev Event) {
	if e.ended {
		return
	}
	err := e.control.SetWriteDeadline(time.Now().Add(writeWithin))
	if errors.Is(err, http.ErrNotSupported) { // a test's recorder
		err = nil
	}
	if err == nil {
		err = json.NewEncoder(e.w).Encode(ev)
	}
	if err == nil {
		err = e.control.Flush()
	}
	if err != nil {
		e.ended = true
		e.gone()
	}
}
