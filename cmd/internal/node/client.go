package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gitpeer/gitpeer/trust"
)

// A Client talks to the user's node.
type Client struct {
	home Home
	http *http.Client
}

// startDeadline is how long a node that was started on demand may take until
// it answers. It opens its store first, which may have to be read from disk.
const startDeadline = 20 * time.Second

// ErrNotRunning means that no node runs, where none was to be started.
var ErrNotRunning = errors.New("no gitpeer node is running")

// Connect returns a client for the node that runs, or ErrNotRunning.
func Connect(ctx context.Context, home Home) (*Client, error) {
	c := newClient(home)
	conn, err := dialSocket(ctx, home.Socket())
	if err != nil {
		return nil, err
	}
	conn.Close()
	return c, nil
}

// Dial returns a client for the user's node and starts the node if none runs.
// exe is the gitpeer program.
func Dial(ctx context.Context, home Home, exe string) (*Client, error) {
	c, err := Connect(ctx, home)
	if !errors.Is(err, ErrNotRunning) {
		return c, err
	}
	if err := start(ctx, home, exe); err != nil {
		return nil, err
	}
	return newClient(home), nil
}

func newClient(home Home) *Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialSocket(ctx, home.Socket())
	}}
	return &Client{home: home, http: &http.Client{Transport: transport}}
}

// dialSocket connects to a socket that is the user's own.
func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	err := ownedByUs(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err == nil {
		err = private(filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	return conn, err
}

// ownedByUs refuses files that another user has put where ours should be.
func ownedByUs(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != os.Getuid() {
		return errorf(trust.Usage, "set GITPEER_HOME to a folder of your own",
			"%s belongs to user %d, not to you", path, st.Uid)
	}
	return nil
}

// private refuses a folder in which others could replace the socket, which
// hears passphrases. Where the sticky bit is set they cannot.
func private(dir string) error {
	if err := ownedByUs(dir); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o002 != 0 && info.Mode()&os.ModeSticky == 0 {
		err = errorf(trust.Usage, "chmod o-w "+dir, "everybody can change what is in %s, where the node's socket is", dir)
	}
	return err
}

// start runs `gitpeer daemon` in the background and waits until it answers.
// Should another process start one at the same time, one of the two ends at
// once, and the one that stays answers both.
func start(ctx context.Context, home Home, exe string) error {
	if err := os.MkdirAll(home.Data, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(home.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	mark, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, "daemon") // outlives ctx on purpose
	cmd.Dir = home.Data
	cmd.Env = withoutGit(os.Environ())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return errorf(trust.Internal, "put the gitpeer program beside git-remote-gitpeer or on PATH", "cannot start the node: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return awaitNode(ctx, home, ended, mark)
}

// awaitNode waits until a node answers on the socket.
func awaitNode(ctx context.Context, home Home, ended <-chan error, mark int64) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := dialSocket(ctx, home.Socket())
		if err == nil {
			return conn.Close()
		}
		if !errors.Is(err, ErrNotRunning) {
			return err
		}
		select {
		case err := <-ended:
			if exitCode(err) == exitAlreadyRunning {
				ended = nil // the other one will answer
				continue
			}
			return startProblem(exitCode(err), lastLines(home.LogFile(), mark))
		case <-tick.C:
		case <-ctx.Done():
			return errorf(trust.TryLater, "gitpeer daemon    # runs it in the foreground",
				"the node did not answer on %s within %v; its log is %s", home.Socket(), startDeadline, home.LogFile())
		}
	}
}

// startProblem is why a node ended at once: what it said itself, as its command
// would have, or else the end of its log.
func startProblem(code int, said string) error {
	if _, own, ok := strings.Cut(said, "gitpeer: error: "); ok && code != 0 {
		message, hint, _ := strings.Cut(own, "\nhint: ")
		return errorf(trust.Code(code), strings.TrimSpace(hint), "%s", strings.TrimSpace(message))
	}
	return errorf(trust.Internal, "gitpeer daemon    # runs it in the foreground", "the node ended at once: %s", said)
}

// exitAlreadyRunning is the exit status of `gitpeer daemon` where a node holds
// the lock already: EX_TEMPFAIL of sysexits.h, the code "try later".
const exitAlreadyRunning = int(trust.TryLater)

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// withoutGit drops what git tells a remote helper about the repository that it
// works for: the node serves many.
func withoutGit(env []string) []string {
	var kept []string
	for _, kv := range env {
		if len(kv) < 4 || kv[:4] != "GIT_" {
			kept = append(kept, kv)
		}
	}
	return kept
}

// lastLines is what a log has had since mark, at most a few lines.
func lastLines(path string, mark int64) string {
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) <= mark {
		return "it left nothing in " + path
	}
	b = bytes.TrimSpace(b[mark:])
	return string(b[max(0, len(b)-1000):])
}

// Executable finds the gitpeer program: GITPEER_EXE, beside this program, or on
// PATH.
func Executable(getenv func(string) string) (string, error) {
	if exe := getenv("GITPEER_EXE"); exe != "" {
		return exe, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "gitpeer")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	return exec.LookPath("gitpeer")
}

// Status describes the node.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return call[Status](ctx, c, "status", Empty{}, nil)
}

// Publish publishes refs of a local repository.
func (c *Client) Publish(ctx context.Context, r PublishRequest, p ProgressFunc) (*PublishResult, error) {
	return call[PublishResult](ctx, c, "publish", r, p)
}

// Push changes refs of one of the user's own repositories and publishes them.
func (c *Client) Push(ctx context.Context, r PushRequest, p ProgressFunc) (*PushResult, error) {
	return call[PushResult](ctx, c, "push", r, p)
}

// Settle makes sure that what was published last can be found.
func (c *Client) Settle(ctx context.Context, r SettleRequest, p ProgressFunc) error {
	_, err := call[Empty](ctx, c, "settle", r, p)
	return err
}

// Fetch brings a mirror up to date and returns what was accepted.
func (c *Client) Fetch(ctx context.Context, r FetchRequest, p ProgressFunc) (*FetchResult, error) {
	return call[FetchResult](ctx, c, "fetch", r, p)
}

// Resolve asks the DHT for a record.
func (c *Client) Resolve(ctx context.Context, r ResolveRequest, p ProgressFunc) (*ResolveResult, error) {
	return call[ResolveResult](ctx, c, "resolve", r, p)
}

// Show fetches a snapshot without its packs.
func (c *Client) Show(ctx context.Context, r ShowRequest, p ProgressFunc) (*ShowResult, error) {
	return call[ShowResult](ctx, c, "show", r, p)
}

// Export writes the files of a web mirror.
func (c *Client) Export(ctx context.Context, r ExportRequest, p ProgressFunc) (*ExportResult, error) {
	return call[ExportResult](ctx, c, "export", r, p)
}

// Stop ends the node and waits until it has gone.
func (c *Client) Stop(ctx context.Context) error {
	if _, err := call[Empty](ctx, c, "stop", Empty{}, nil); err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		free, err := lockFree(c.home)
		if free || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// maxSilence is how long a node may say nothing: several of its heartbeats, so
// that only one that hangs or was stopped is given up.
const maxSilence = 6 * heartbeat

var errSilent = fmt.Errorf("nothing heard for %v", maxSilence)

// call performs one operation. A node that goes away in the middle is an error
// that says so: whether the operation took place is not known then.
func call[Res any](ctx context.Context, c *Client, op string, req any, progress ProgressFunc) (*Res, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	caller := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(maxSilence, func() { cancel(errSilent) })
	defer silence.Stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node/v1/"+op, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, callError(caller, op, errors.Join(err, context.Cause(ctx)))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return nil, errorf(trust.Internal, "gitpeer stop    # if the node is of another version than this program",
			"the node answers %s to %s: %s", resp.Status, op, bytes.TrimSpace(text))
	}
	dec := json.NewDecoder(resp.Body)
	for {
		var ev struct {
			Progress *Progress       `json:"progress"`
			Result   json.RawMessage `json:"result"`
			Error    *Error          `json:"error"`
		}
		if err := dec.Decode(&ev); err != nil {
			return nil, callError(caller, op, errors.Join(err, context.Cause(ctx)))
		}
		silence.Reset(maxSilence)
		switch {
		case ev.Error != nil:
			return nil, ev.Error
		case ev.Result != nil:
			res := new(Res)
			return res, json.Unmarshal(ev.Result, res)
		case ev.Progress != nil && progress != nil:
			progress(*ev.Progress)
		}
	}
}

func callError(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, ErrNotRunning) {
		return ErrNotRunning
	}
	if op == "fetch" { // which can be done again
		return errorf(trust.TryLater, "run the command again: what was received is kept", "the node went away during fetch (connection: %v)", err)
	}
	return errorf(trust.TryLater, "gitpeer status    # shows whether it runs and what it holds",
		"the node went away during %s; it is not known whether that took place (%v)", op, fmt.Errorf("connection: %w", err))
}
