package gitcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gitpeer/gitpeer/refs"
)

// Resolve finds the objects that names stand for, in the order of the names.
// A name is anything that git rev-parse would take for one object. An absent
// one gives the empty OID.
func (r Repo) Resolve(ctx context.Context, names []string) ([]refs.OID, error) {
	var in bytes.Buffer
	for _, name := range names {
		if name == "" || strings.ContainsAny(name, "\n\x00") {
			return nil, fmt.Errorf("%q is not the name of an object", name)
		}
		// On standard input nothing is taken for an option.
		fmt.Fprintln(&in, name)
	}
	out, err := run(r.Command(ctx, "cat-file", "--batch-check=%(objectname)"), &in)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(names) {
		return nil, fmt.Errorf("git cat-file answered %d lines to %d names", len(lines), len(names))
	}
	oids := make([]refs.OID, len(names))
	for i, line := range lines {
		if !strings.Contains(line, " ") { // else "NAME missing" or "NAME ambiguous"
			oids[i] = refs.OID(line)
		}
	}
	return oids, nil
}

// A Service is one of the programs by which git serves a repository, with what
// it is to serve and the streams that it talks over.
type Service struct {
	Name     string     // upload-pack or upload-archive
	Protocol string     // GIT_PROTOCOL, such as "version=2"
	Refs     []refs.Ref // all the refs that the client sees, with the objects that they name
	Head     refs.Name  // the branch that HEAD names, or ""
	Format   refs.ObjectFormat
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
}

// Serve serves the refs of the service out of the objects of the repository,
// and to a partial clone whatever object it asks for, until the client is
// satisfied. What the repository's own refs say, and whether they are being
// changed, makes no difference.
func (r Repo) Serve(ctx context.Context, s Service) (err error) {
	front, err := r.front(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(front)) }()
	cmd := r.Command(ctx,
		"-c", "uploadpack.allowFilter=true",
		"-c", "uploadpack.allowAnySHA1InWant=true",
		"-c", "lsrefs.unborn=advertise",
		s.Name, front)
	cmd.Env = append(without(cmd.Env, "GIT_DIR"), "GIT_OBJECT_DIRECTORY="+filepath.Join(r.Dir, "objects"))
	if s.Protocol != "" {
		cmd.Env = append(cmd.Env, "GIT_PROTOCOL="+s.Protocol)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Stdin, s.Stdout, s.Stderr
	if err := cmd.Run(); err != nil {
		return &Error{Command: s.Name, Err: err}
	}
	return nil
}

// front makes a git directory that has nothing but the refs of a service; the
// caller removes it.
func (r Repo) front(s Service) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "gitpeer-serve-*"); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	config := "[core]\n\trepositoryformatversion = 1\n\tbare = true\n"
	if s.Format != refs.SHA1 {
		config += "[extensions]\n\tobjectformat = " + string(s.Format) + "\n"
	}
	head := s.Head
	if head == "" {
		head = "refs/heads/main" // as Init has it
	}
	list := slices.Clone(s.Refs)
	slices.SortFunc(list, func(a, b refs.Ref) int { return strings.Compare(string(a.Name), string(b.Name)) })
	packed := []byte("# pack-refs with: sorted \n")
	for _, ref := range list {
		packed = fmt.Appendf(packed, "%s %s\n", ref.OID, ref.Name)
	}
	return dir, errors.Join(
		os.Mkdir(filepath.Join(dir, "refs"), 0o700),
		os.Mkdir(filepath.Join(dir, "objects"), 0o700), // git looks for it, and reads from the other
		os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600),
		os.WriteFile(filepath.Join(dir, "packed-refs"), packed, 0o600),
		os.WriteFile(filepath.Join(dir, "HEAD"), []byte("ref: "+string(head)+"\n"), 0o600))
}

// CopyPack packs what tips reach and bases do not, with the tags on the way,
// and adds it to another repository, whose git checks every object.
func (r Repo) CopyPack(ctx context.Context, tips, bases []refs.OID, to Repo) error {
	in := revisions(tips, bases)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pack := r.Command(ctx, "pack-objects", "--quiet", "--revs", "--stdout", "--delta-base-offset", "--include-tag")
	said := &tail{max: maxStderr}
	pack.Stdin, pack.Stderr = in, said
	stream, err := pack.StdoutPipe()
	if err != nil {
		return err
	}
	if err := pack.Start(); err != nil {
		return failure(pack, said, err)
	}
	_, indexErr := run(to.Command(ctx, "index-pack", "--stdin"), stream)
	if indexErr != nil {
		cancel()
	}
	return errors.Join(indexErr, failure(pack, said, pack.Wait()))
}

// HasObjects reports whether any object can be read in the repository:
// packed, loose or borrowed.
func (w *Work) HasObjects() (bool, error) {
	if info, err := os.Stat(filepath.Join(w.Objects, "info", "alternates")); err == nil && info.Size() > 0 {
		return true, nil
	}
	// Packs live in pack, loose objects in folders of two digits. A pack without
	// index is one that somebody was adding when they were killed.
	for _, pattern := range []string{"pack/*.idx", "[0-9a-f][0-9a-f]/*"} {
		found, err := fs.Glob(os.DirFS(w.Objects), pattern)
		if err != nil || len(found) > 0 {
			return len(found) > 0, err
		}
	}
	return false, nil
}

// Packed reports whether everything in the repository lies in packs of its own
// pack folder, so that those packs alone are the repository.
func (r Repo) Packed() (bool, error) {
	for _, file := range []string{"shallow", "objects/info/alternates"} {
		if _, err := os.Stat(filepath.Join(r.Dir, file)); !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
	}
	for _, pattern := range []string{"objects/[0-9a-f][0-9a-f]/*", "objects/pack/*.promisor"} {
		found, err := fs.Glob(os.DirFS(r.Dir), pattern)
		if err != nil || len(found) > 0 {
			return false, err
		}
	}
	return true, nil
}

// FullName is the ref that a name stands for, HEAD among them: "HEAD" if that
// is detached, "" if the name is no ref's, such as an object id or main~2.
func (r Repo) FullName(ctx context.Context, name string) (refs.Name, error) {
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, "^\n\x00") {
		return "", nil
	}
	out, err := run(r.Command(ctx, "rev-parse", "--quiet", "--verify", "--symbolic-full-name", name), nil)
	var failed *Error
	if errors.As(err, &failed) && failed.ExitCode() >= 0 {
		return "", nil
	}
	return refs.Name(strings.TrimSpace(string(out))), err
}

// RemoteURLs lists the URLs of the repository's remotes, as its own
// configuration has them.
func (r Repo) RemoteURLs(ctx context.Context) ([]string, error) {
	out, err := run(r.Command(ctx, "config", "--local", "-z", "--get-regexp", `^remote\..*\.(push)?url$`), nil)
	var failed *Error
	if errors.As(err, &failed) && failed.ExitCode() == 1 {
		return nil, nil
	}
	var urls []string
	for _, entry := range strings.Split(string(out), "\x00") {
		if _, url, ok := strings.Cut(entry, "\n"); ok {
			urls = append(urls, url)
		}
	}
	return urls, err
}

// A TreeFile is a file at the root of a tree.
type TreeFile struct {
	Name string
	OID  refs.OID
}

// TreeFiles lists the files at the root of the tree that an object leads to.
func (r Repo) TreeFiles(ctx context.Context, oid refs.OID) ([]TreeFile, error) {
	out, err := run(r.Command(ctx, "ls-tree", "-z", "--full-tree", string(oid)), nil)
	if err != nil {
		return nil, err
	}
	var files []TreeFile
	for _, line := range strings.Split(string(out), "\x00") {
		head, name, _ := strings.Cut(line, "\t")
		if fields := strings.Fields(head); len(fields) == 3 && fields[1] == "blob" {
			files = append(files, TreeFile{Name: name, OID: refs.OID(fields[2])})
		}
	}
	return files, nil
}
