package gitcmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gitpeer/gitpeer/refs"
)

// A Work is a repository of the user's: where it is and what kind it is.
type Work struct {
	Repo
	Objects      string // its object directory, absolute
	ObjectFormat refs.ObjectFormat
	Shallow      bool // history is cut off
	Partial      bool // objects are missing on purpose (a partial clone)
}

// ErrNotRepository means that a folder is not in a git repository.
var ErrNotRepository = errors.New("not a git repository")

// Locate finds the repository that dir, a work tree or a git directory, is in.
func Locate(ctx context.Context, dir string) (*Work, error) {
	cmd := Repo{Dir: "."}.Command(ctx, whereabouts...)
	cmd.Env = without(cmd.Env, "GIT_DIR")
	return locate(ctx, cmd, dir)
}

// whereabouts asks git for what is in a Work.
var whereabouts = []string{"rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir",
	"--show-object-format", "--is-shallow-repository", "--git-path", "objects"}

func locate(ctx context.Context, cmd *exec.Cmd, dir string) (*Work, error) {
	cmd.Dir = dir
	out, err := run(cmd, nil)
	if err != nil {
		var failed *Error
		if errors.As(err, &failed) && failed.ExitCode() == 128 && strings.Contains(failed.Stderr, "not a git repository") {
			return nil, fmt.Errorf("%w: %q", ErrNotRepository, dir)
		}
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != 5 {
		return nil, fmt.Errorf("git rev-parse in %q: %d lines, want 5", dir, len(lines))
	}
	w := &Work{
		Repo:         Repo{Dir: lines[0]},
		ObjectFormat: refs.ObjectFormat(lines[2]),
		Shallow:      lines[3] == "true",
		Objects:      lines[4],
	}
	w.Partial, err = w.promises(ctx, filepath.Join(lines[1], "config"))
	return w, err
}

// ErrNotOwned means that a repository belongs to another user, and that git has
// not been told that it is safe.
var ErrNotOwned = errors.New("the repository belongs to another user")

// LocateOwned is Locate of a repository that git itself would
// work in: the user's own, or one that the user's or the system's safe.directory
// names. All other commands leave that aside, for the repository was chosen by
// then; but where a folder is searched for upwards, somebody else may have put
// one in the way, as in /tmp.
func LocateOwned(ctx context.Context, dir string) (*Work, error) {
	cmd := exec.CommandContext(ctx, "git", whereabouts...) // runs nothing that a configuration names
	cmd.Env = without(without(Environ(), "GIT_CONFIG_NOSYSTEM"), "GIT_CONFIG_GLOBAL")
	w, err := locate(ctx, cmd, dir)
	var failed *Error
	switch {
	case err == nil:
		return w, nil
	case errors.As(err, &failed) && failed.ExitCode() == 128 && strings.Contains(failed.Stderr, "dubious ownership"):
		return nil, fmt.Errorf("%w: %q", ErrNotOwned, dir)
	}
	return Locate(ctx, dir) // what is wrong with the user's configuration is no matter here
}

// promises reports whether the repository is configured to fetch objects that
// it lacks when they are needed. What it lacks cannot be packed. A configuration
// that has none of the words has not the keys either, which can be written in no
// other way (git-config(1)): git is asked of the others only.
func (r Repo) promises(ctx context.Context, file string) (bool, error) {
	text, err := os.ReadFile(file)
	if low := bytes.ToLower(text); err == nil && !bytes.Contains(low, []byte("promisor")) && !bytes.Contains(low, []byte("partialclone")) {
		return false, nil
	}
	_, err = run(r.Command(ctx, "config", "--local", "--get-regexp", `^(remote\..*\.promisor|extensions\.partialclone)$`), nil)
	var failed *Error
	if errors.As(err, &failed) && failed.ExitCode() == 1 {
		return false, nil
	}
	return err == nil, err
}

func without(env []string, name string) []string {
	kept := env[:0]
	for _, kv := range env {
		if !strings.HasPrefix(kv, name+"=") {
			kept = append(kept, kv)
		}
	}
	return kept
}

// Init makes a bare repository without templates, hooks or sample files.
func Init(ctx context.Context, dir string, format refs.ObjectFormat) error {
	cmd := Repo{Dir: dir}.Command(ctx, "init", "--quiet", "--bare", "--template=", "--initial-branch=main", "--object-format="+string(format))
	_, err := run(cmd, nil)
	return err
}

// Refs lists the refs that match any of the patterns (as git for-each-ref
// takes them; none means refs/heads and refs/tags), sorted by name, with
// annotated tags peeled to the object that they finally point at.
func (r Repo) Refs(ctx context.Context, patterns ...string) ([]refs.Ref, error) {
	return r.RefsSince(ctx, nil, patterns...)
}

// RefsSince is Refs where what some objects lead to is known already: only the
// others are looked at.
func (r Repo) RefsSince(ctx context.Context, known []refs.Ref, patterns ...string) ([]refs.Ref, error) {
	list, err := r.list(ctx, patterns...)
	if err != nil {
		return nil, err
	}
	peeled := make(map[refs.OID]refs.OID, len(known))
	for _, ref := range known {
		peeled[ref.OID] = ref.Peeled
	}
	var unknown []int
	for i := range list {
		to, ok := peeled[list[i].OID]
		if list[i].Peeled = to; !ok {
			unknown = append(unknown, i)
		}
	}
	return list, r.Peel(ctx, list, unknown)
}

// list lists refs without looking at any object.
func (r Repo) list(ctx context.Context, patterns ...string) ([]refs.Ref, error) {
	if len(patterns) == 0 {
		patterns = []string{"refs/heads/", "refs/tags/"}
	}
	args := append([]string{"for-each-ref", "--format=%(objectname) %(refname)", "--"}, patterns...)
	if strings.HasPrefix(patterns[0], "-") {
		return nil, fmt.Errorf("ref pattern %q begins with a dash", patterns[0])
	}
	out, err := run(r.Command(ctx, args...), nil)
	if err != nil {
		return nil, err
	}
	var list []refs.Ref
	for line := range strings.Lines(string(out)) {
		oid, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok {
			return nil, fmt.Errorf("git for-each-ref: unexpected line %q", line)
		}
		list = append(list, refs.Ref{Name: refs.Name(name), OID: refs.OID(oid)})
	}
	return list, nil
}

// Peel fills in what the refs at these places of list point at in the end,
// where that is another object than they name: annotated tags.
func (r Repo) Peel(ctx context.Context, list []refs.Ref, places []int) error {
	if len(places) == 0 {
		return nil
	}
	var in bytes.Buffer
	for _, i := range places {
		fmt.Fprintf(&in, "%s^{}\n", list[i].OID)
	}
	out, err := run(r.Command(ctx, "cat-file", "--batch-check=%(objectname)"), &in)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for _, i := range places {
		if !lines.Scan() || strings.Contains(lines.Text(), " ") {
			return fmt.Errorf("ref %q leads to an object that is not here", list[i].Name)
		}
		if oid := refs.OID(lines.Text()); oid != list[i].OID {
			list[i].Peeled = oid
		}
	}
	return lines.Err()
}

// Head is the branch that HEAD names, whether or not it exists yet, or "" if
// HEAD is detached.
func (r Repo) Head(ctx context.Context) (refs.Name, error) {
	// The file says it unless the refs are kept otherwise (gitrepository-layout(5)).
	raw, err := os.ReadFile(filepath.Join(r.Dir, "HEAD"))
	if branch, ok := strings.CutPrefix(string(raw), "ref: refs/heads/"); err == nil && ok && branch != ".invalid\n" {
		return refs.Name("refs/heads/" + strings.TrimSpace(branch)), nil
	}
	out, err := run(r.Command(ctx, "symbolic-ref", "--quiet", "HEAD"), nil)
	var failed *Error
	if errors.As(err, &failed) && failed.ExitCode() == 1 {
		return "", nil
	}
	return refs.Name(strings.TrimSpace(string(out))), err
}

// SetHead makes HEAD name a branch.
func (r Repo) SetHead(ctx context.Context, branch refs.Name) error {
	if was, err := r.Head(ctx); err == nil && was == branch {
		return nil
	}
	_, err := run(r.Command(ctx, "symbolic-ref", "HEAD", string(branch)), nil)
	return err
}

// SetRefs makes the repository's refs exactly these: one transaction of
// deletions, so that a may become a/b, then one of updates.
func (r Repo) SetRefs(ctx context.Context, want []refs.Ref) error {
	have, err := r.list(ctx, "refs/")
	if err != nil {
		return err
	}
	if slices.EqualFunc(have, want, func(a, b refs.Ref) bool { return a.Name == b.Name && a.OID == b.OID }) {
		return nil
	}
	if len(have) == 0 && len(want) > manyRefs && r.storesFiles() {
		return r.writeRefs(ctx, want)
	}
	if err := r.setRefs(ctx, have, want); err != nil {
		return err
	}
	if len(have)+manyRefs < len(want) {
		_, err = run(r.Command(ctx, "pack-refs", "--all"), nil)
	}
	return err
}

func (r Repo) setRefs(ctx context.Context, have, want []refs.Ref) error {
	old := make(map[refs.Name]refs.OID, len(have))
	for _, ref := range have {
		old[ref.Name] = ref.OID
	}
	var update bytes.Buffer
	for _, ref := range want {
		if old[ref.Name] != ref.OID {
			fmt.Fprintf(&update, "update %s\x00%s\x00\x00", ref.Name, ref.OID)
		}
		delete(old, ref.Name)
	}
	var in bytes.Buffer
	in.WriteString("start\x00")
	for name := range old {
		fmt.Fprintf(&in, "delete %s\x00\x00", name)
	}
	if len(old) > 0 {
		in.WriteString("prepare\x00commit\x00start\x00")
	}
	in.Write(update.Bytes())
	in.WriteString("prepare\x00commit\x00")
	_, err := run(r.Command(ctx, "update-ref", "--no-deref", "-z", "--stdin"), &in)
	return err
}

// revisions writes tips, and bases with a caret, as git reads them with --stdin
// or --revs: what the tips reach and the bases do not.
func revisions(tips, bases []refs.OID) *bytes.Buffer {
	var in bytes.Buffer
	for _, oid := range tips {
		fmt.Fprintln(&in, oid)
	}
	for _, oid := range bases {
		fmt.Fprintf(&in, "^%s\n", oid)
	}
	return &in
}

// A Description is what git says of an object without showing it.
type Description struct {
	Kind string // commit, tree, blob or tag; "" if the object is not there
	Size int64  // bytes
}

// Describe describes objects of the repository.
func (r Repo) Describe(ctx context.Context, oids []refs.OID) ([]Description, error) {
	out, err := run(r.Command(ctx, "cat-file", "--batch-check=%(objecttype) %(objectsize)"), revisions(oids, nil))
	if err != nil {
		return nil, err
	}
	list := make([]Description, 0, len(oids))
	for line := range strings.Lines(string(out)) {
		kind, size, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil { // "OID missing"
			kind, n = "", 0
		}
		list = append(list, Description{kind, n})
	}
	if len(list) != len(oids) {
		return nil, fmt.Errorf("git cat-file answered %d of %d", len(list), len(oids))
	}
	return list, nil
}

// Missing reports which of the objects are not in the repository.
func (r Repo) Missing(ctx context.Context, oids []refs.OID) ([]refs.OID, error) {
	list, err := r.Describe(ctx, oids)
	if err != nil {
		return nil, err
	}
	var missing []refs.OID
	for i, d := range list {
		if d.Kind == "" {
			missing = append(missing, oids[i])
		}
	}
	return missing, nil
}

// IsAncestor reports whether commit a is an ancestor of, or the same as, b.
func (r Repo) IsAncestor(ctx context.Context, a, b refs.OID) (bool, error) {
	_, err := run(r.Command(ctx, "merge-base", "--is-ancestor", string(a), string(b)), nil)
	var failed *Error
	if errors.As(err, &failed) && failed.ExitCode() == 1 {
		return false, nil
	}
	return err == nil, err
}

// Connected checks that everything the tips reach is here, apart from what the
// refs of the repository reach already.
func (r Repo) Connected(ctx context.Context, tips []refs.OID) error {
	return pipe(r.Command(ctx, "rev-list", "--objects", "--quiet", "--stdin", "--not", "--all"), revisions(tips, nil), io.Discard)
}

// Exists reports whether the folder is a git repository of ours, by the file
// that git itself looks for.
func (r Repo) Exists() bool {
	_, err := os.Stat(filepath.Join(r.Dir, "HEAD"))
	return err == nil
}

// Unlock removes ref locks that a killed git left behind. The caller must know
// that no git process works on the repository.
func (r Repo) Unlock() error {
	var locks []string
	for _, name := range []string{"HEAD.lock", "packed-refs.lock"} {
		locks = append(locks, filepath.Join(r.Dir, name))
	}
	err := filepath.WalkDir(filepath.Join(r.Dir, "refs"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".lock") {
			locks = append(locks, path)
		}
		return err
	})
	for _, path := range locks {
		if rm := os.Remove(path); rm != nil && !errors.Is(rm, os.ErrNotExist) {
			err = errors.Join(err, rm)
		}
	}
	return err
}

// Reached reports which of the candidates are commits that one of the tips is
// or descends from.
func (r Repo) Reached(ctx context.Context, candidates, tips []refs.OID) (map[refs.OID]bool, error) {
	reached := map[refs.OID]bool{}
	if len(candidates) == 0 {
		return reached, nil
	}
	kinds, err := run(r.Command(ctx, "cat-file", "--batch-check=%(objectname) %(objecttype)"), revisions(candidates, nil))
	if err != nil {
		return nil, err
	}
	var commits []refs.OID
	for line := range strings.Lines(string(kinds)) {
		if oid, ok := strings.CutSuffix(strings.TrimSuffix(line, "\n"), " commit"); ok {
			reached[refs.OID(oid)] = true
			commits = append(commits, refs.OID(oid))
		}
	}
	beyond, err := run(r.Command(ctx, "rev-list", "--stdin"), revisions(commits, tips))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(beyond)) {
		delete(reached, refs.OID(strings.TrimSuffix(line, "\n")))
	}
	return reached, nil
}
