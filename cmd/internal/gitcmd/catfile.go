package gitcmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"

	"github.com/gitpeer/gitpeer/refs"
)

// A Batch is a running `git cat-file --batch`. It is not for concurrent use.
type Batch struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr *tail
}

// ErrMissing means that an object is not in the repository.
var ErrMissing = errors.New("object is missing")

// ErrObjectTooLarge means that an object is larger than the caller reads.
var ErrObjectTooLarge = errors.New("object is too large")

// Batch starts reading objects; the caller closes it.
func (r Repo) Batch(ctx context.Context) (*Batch, error) {
	cmd := r.Command(ctx, "cat-file", "--batch")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return startBatch(cmd, stdin)
}

func startBatch(cmd *exec.Cmd, stdin io.WriteCloser) (*Batch, error) {
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	b := &Batch{cmd: cmd, stdin: stdin, stdout: bufio.NewReaderSize(stdout, 64<<10), stderr: &tail{max: maxStderr}}
	cmd.Stderr = b.stderr
	if err := cmd.Start(); err != nil {
		return nil, failure(cmd, b.stderr, err)
	}
	return b, nil
}

// An Object is an object as git stores it, without its header.
type Object struct {
	OID  refs.OID
	Kind string // "commit", "tree", "blob" or "tag"
	Data []byte // nil of one that is too large
	Size int64
}

// Read gives one object of at most limit bytes. A larger one is an
// ErrObjectTooLarge, of which all but Data is given; an absent one is an
// ErrMissing.
func (b *Batch) Read(oid refs.OID, limit int64) (*Object, error) {
	if _, err := io.WriteString(b.stdin, string(oid)+"\n"); err != nil {
		return nil, failure(b.cmd, b.stderr, err)
	}
	return b.next(limit)
}

func (b *Batch) next(limit int64) (*Object, error) {
	line, err := b.stdout.ReadString('\n')
	if err != nil {
		if err == io.EOF && line == "" {
			return nil, io.EOF
		}
		return nil, failure(b.cmd, b.stderr, err)
	}
	line = line[:len(line)-1]
	fields := strings.Split(line, " ")
	if len(fields) == 2 && fields[1] == "missing" {
		return &Object{OID: refs.OID(fields[0])}, fmt.Errorf("%w: %s", ErrMissing, fields[0])
	}
	if len(fields) != 3 {
		return nil, fmt.Errorf("git cat-file: unexpected answer %q", line)
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("git cat-file: unexpected answer %q", line)
	}
	o := &Object{OID: refs.OID(fields[0]), Kind: fields[1], Size: size}
	if size > limit {
		if _, err := io.CopyN(io.Discard, b.stdout, size+1); err != nil {
			return nil, failure(b.cmd, b.stderr, err)
		}
		return o, fmt.Errorf("%w: %s has %d bytes", ErrObjectTooLarge, o.OID, size)
	}
	o.Data = make([]byte, size)
	if _, err := io.ReadFull(b.stdout, o.Data); err != nil {
		return nil, failure(b.cmd, b.stderr, err)
	}
	if _, err := b.stdout.Discard(1); err != nil {
		return nil, failure(b.cmd, b.stderr, err)
	}
	return o, nil
}

// Close ends the process.
func (b *Batch) Close() error {
	if b.stdin != nil {
		b.stdin.Close()
	}
	io.Copy(io.Discard, b.stdout)
	return failure(b.cmd, b.stderr, b.cmd.Wait())
}

// Commits calls yield with every commit that tips reach and bases do not,
// newest first, until it returns false. Commits above limit bytes come without
// their content.
func (r Repo) Commits(ctx context.Context, tips, bases []refs.OID, limit int64, yield func(*Object) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := revisions(tips, bases)
	list := r.Command(ctx, "rev-list", "--stdin")
	listErr := &tail{max: maxStderr}
	list.Stdin, list.Stderr = in, listErr
	oids, err := list.StdoutPipe()
	if err != nil {
		return err
	}
	if err := list.Start(); err != nil {
		return failure(list, listErr, err)
	}
	cat := r.Command(ctx, "cat-file", "--batch", "--buffer")
	cat.Stdin = oids // the pipe itself: no copy through this process
	b, err := startBatch(cat, nil)
	if err != nil {
		cancel()
		return errors.Join(err, list.Wait())
	}
	for {
		o, err := b.next(limit)
		if err == io.EOF {
			break
		}
		if errors.Is(err, ErrObjectTooLarge) {
			err = nil
		}
		if err != nil || !yield(o) {
			cancel()
			b.Close()
			list.Wait()
			return err
		}
	}
	oids.Close() // should cat-file have died, rev-list must not wait for it
	return errors.Join(failure(list, listErr, list.Wait()), b.Close())
}
