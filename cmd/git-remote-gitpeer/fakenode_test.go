package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// A fakeNode answers the node's API over one bare repository: no network, no
// policy, no packs of its own.
type fakeNode struct {
	home    node.Home
	address refs.Address
	mirror  gitcmd.Repo

	mu      sync.Mutex
	format  refs.ObjectFormat // "" as long as nothing is published
	refuse  *node.Error       // what every fetch is answered with, if set
	stale   string
	tamper  func(*node.FetchResult)
	asked   chan struct{} // if set, a fetch says so here and then never answers
	fetches int
	pushes  []node.PushRequest
	unput   *node.Error // what keeps the record from the DHT, if set
	settled int         // how often a session asked whether it is there
}

// startFake starts a fake node for a home that the environment of the test
// names, with a publisher key of its own.
func startFake(t *testing.T) *fakeNode {
	t.Helper()
	// Not t.TempDir: the path of a unix socket must be short.
	dir, err := os.MkdirTemp("", "gp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("GITPEER_HOME", dir)
	home, err := node.DefaultHome(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(home.KeyFile()), 0o700); err != nil {
		t.Fatal(err)
	}
	id, err := keys.Generate(home.KeyFile(), "test")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeNode{home: home, address: refs.Address{Publisher: id, Name: "tools"}}
	f.mirror.Dir = home.Mirror(f.address)

	if err := os.MkdirAll(filepath.Dir(f.mirror.Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", home.Socket())
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /v1/fetch", answer(f.fetch))
	mux.Handle("POST /v1/push", answer(f.push))
	mux.Handle("POST /v1/settle", answer(f.settle))
	server := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return f
}

// with changes or reads the fake while no operation runs.
func (f *fakeNode) with(do func(f *fakeNode)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f)
}

// fetched is how many fetches there were, pushed what was pushed.
func (f *fakeNode) fetched() (n int) {
	f.with(func(f *fakeNode) { n = f.fetches })
	return n
}

func (f *fakeNode) pushed() (all []node.PushRequest) {
	f.with(func(f *fakeNode) { all = slices.Clone(f.pushes) })
	return all
}

// answer makes an HTTP handler of an operation.
func answer[Req, Res any](op func(context.Context, Req) (*Res, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req Req
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		enc := json.NewEncoder(w)
		enc.Encode(node.Event{Progress: &node.Progress{Stage: "resolving", Done: 3, Total: 3, Unit: "nodes", Over: true}})
		res, err := op(r.Context(), req)
		var refused *node.Error
		switch {
		case errors.As(err, &refused):
			enc.Encode(node.Event{Error: refused})
		case err != nil:
			enc.Encode(node.Event{Error: &node.Error{Code: trust.Internal, Message: err.Error()}})
		default:
			enc.Encode(node.Event{Result: res})
		}
	})
}

func (f *fakeNode) fetch(ctx context.Context, r node.FetchRequest) (*node.FetchResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fetches++
	if f.asked != nil {
		close(f.asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if f.refuse != nil {
		return nil, f.refuse
	}
	res := &node.FetchResult{URL: f.address.String(), ObjectFormat: f.format, Stale: f.stale,
		Signed: time.Date(2026, 11, 22, 5, 6, 7, 0, time.UTC)}
	if f.format == "" {
		if r.Own {
			return res, nil
		}
		return nil, &node.Error{Code: trust.TryLater, Message: "no record found for " + r.URL, Hint: "gitpeer resolve " + r.URL}
	}
	var err error
	res.Mirror = f.mirror.Dir
	if res.Refs, err = f.mirror.Refs(ctx); err != nil {
		return nil, err
	}
	if res.Head, err = f.mirror.Head(ctx); err != nil {
		return nil, err
	}
	if f.tamper != nil {
		f.tamper(res)
	}
	return res, nil
}

func (f *fakeNode) settle(_ context.Context, r node.SettleRequest) (*node.Empty, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settled++
	if r.URL != f.address.String() {
		return nil, fmt.Errorf("asked for %q", r.URL)
	}
	if f.unput != nil {
		return nil, f.unput
	}
	return &node.Empty{}, nil
}

func (f *fakeNode) push(ctx context.Context, r node.PushRequest) (*node.PushResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pushes = append(f.pushes, r)
	work, err := gitcmd.Locate(ctx, r.GitDir)
	if err != nil {
		return nil, err
	}
	if f.format == "" {
		if err := gitcmd.Init(ctx, f.mirror.Dir, work.ObjectFormat); err != nil {
			return nil, err
		}
		f.format = work.ObjectFormat
	}
	have, err := f.mirror.Refs(ctx)
	if err != nil {
		return nil, err
	}
	now := make(map[refs.Name]refs.OID)
	for _, ref := range have {
		now[ref.Name] = ref.OID
	}
	res := new(node.PushResult)
	failed := false
	for _, u := range r.Updates {
		problem := ""
		old := now[u.Dst]
		forward := true
		if old != "" && u.New != "" && u.Dst.IsBranch() {
			forward, err = work.IsAncestor(ctx, old, u.New)
			forward = forward && err == nil
		}
		switch {
		case u.Expect != nil && *u.Expect != old:
			problem = "stale info"
		case !forward && !u.Force:
			problem = "non-fast-forward"
		case u.New == "":
			delete(now, u.Dst)
		default:
			if missing, err := f.mirror.Missing(ctx, []refs.OID{u.New}); err != nil {
				return nil, err
			} else if len(missing) > 0 && !r.DryRun {
				if err := work.CopyPack(ctx, []refs.OID{u.New}, nil, f.mirror); err != nil {
					return nil, err
				}
			}
			now[u.Dst] = u.New
		}
		failed = failed || problem != ""
		res.Refs = append(res.Refs, node.RefResult{Dst: u.Dst, Problem: problem})
	}
	if failed && r.Atomic {
		for i := range res.Refs {
			if res.Refs[i].Problem == "" {
				res.Refs[i].Problem = "atomic push failed"
			}
		}
		return res, nil
	}
	if r.DryRun {
		return res, nil
	}
	var want []refs.Ref
	for name, oid := range now {
		want = append(want, refs.Ref{Name: name, OID: oid})
	}
	res.Published = &node.PublishResult{URL: f.address.String(), Number: uint64(len(f.pushes)), Stored: 14, Asked: 20}
	return res, f.mirror.SetRefs(ctx, want)
}
