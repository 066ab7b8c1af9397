package node

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// signedBy commits with an SSH key, and gives the key as a snapshot has it.
func (w *workTree) signedBy(file string) []byte {
	w.t.Helper()
	w.git("config", "gpg.format", "ssh")
	w.git("config", "user.signingkey", file)
	w.git("config", "commit.gpgsign", "true")
	w.commit("")
	w.git("config", "commit.gpgsign", "false")
	text, err := os.ReadFile(file + ".pub")
	if err != nil {
		w.t.Fatal(err)
	}
	blob, err := base64.StdEncoding.DecodeString(strings.Fields(string(text))[1])
	if err != nil {
		w.t.Fatal(err)
	}
	return blob
}

// TestSignersStay publishes a signed commit, then others: the snapshots name
// the keys of all who signed a tip, those of older snapshots among them.
func TestSignersStay(t *testing.T) {
	alice, work := publisher(t, loopback(t), 1)
	var want [][]byte
	for i := range 3 {
		if i < 2 {
			file := filepath.Join(t.TempDir(), "id")
			if _, err := keys.Generate(file, "signer"); err != nil {
				t.Fatal(err)
			}
			want = append(want, work.signedBy(file))
			slices.SortFunc(want, bytes.Compare)
		} else {
			work.commit("")
		}
		alice.publish(work)
		res, err := alice.client.Show(t.Context(), ShowRequest{URL: "gitpeer://" + mustID(t, alice) + "/tools"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(res.Signers, want, bytes.Equal) {
			t.Errorf("snapshot %d has %d signers, want the %d of this one and those before", i+1, len(res.Signers), len(want))
		}
	}
}

// TestRevocationReachesSnapshot revokes the OpenPGP key that signed a tip of an
// earlier snapshot. Whatever is published next from a keyring that knows of it
// says so, and nothing that is published later takes it back.
func TestRevocationReachesSnapshot(t *testing.T) {
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("gpg is not installed")
	}
	home, err := os.MkdirTemp("", "gp") // not t.TempDir: gpg-agent's socket needs a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	gpg := func(args ...string) string {
		out, err := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...).Output()
		if err != nil {
			t.Fatalf("gpg %q: %v", args, err)
		}
		return string(out)
	}
	gpg("--quick-gen-key", "A <a@example.org>", "ed25519", "sign", "never")
	_, rest, _ := strings.Cut(gpg("--with-colons", "--list-keys"), "\nfpr:::::::::")
	fingerprint, _, _ := strings.Cut(rest, ":")

	alice, work := publisher(t, loopback(t), 1)
	program := filepath.Join(t.TempDir(), "gpg")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexec gpg --homedir '"+home+"' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	work.git("config", "gpg.program", program)
	work.git("config", "user.signingkey", fingerprint)
	work.git("commit", "-q", "-S", "--allow-empty", "-m", "signed")
	empty := t.TempDir()
	var last []byte
	publish := func(gnupg string, repack, revoked bool) {
		t.Helper()
		res, err := alice.client.Publish(t.Context(), PublishRequest{Dir: work.dir, GnupgHome: gnupg, Repack: repack}, nil)
		if err != nil {
			t.Fatal(err)
		}
		shown, err := alice.client.Show(t.Context(), ShowRequest{URL: res.URL}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(shown.Signers) != 1 {
			t.Fatalf("snapshot %d has %d signers, want 1", res.Number, len(shown.Signers))
		}
		cert, err := keys.ParseCertificate(shown.Signers[0])
		if err != nil || (cert.Revoked != nil) != revoked {
			t.Errorf("snapshot %d: certificate revoked: %v, %v, want %v", res.Number, cert != nil && cert.Revoked != nil, err, revoked)
		}
		if gnupg == empty && !bytes.Equal(shown.Signers[0], last) {
			t.Errorf("snapshot %d without a keyring has not the certificate of the one before", res.Number)
		}
		last = shown.Signers[0]
	}
	publish(home, false, false)
	file := filepath.Join(home, "openpgp-revocs.d", fingerprint+".rev")
	revocation, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, bytes.Replace(revocation, []byte(":-----BEGIN"), []byte("-----BEGIN"), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	gpg("--import", file)
	work.commit("")
	publish(empty, false, false)
	publish(home, true, true) // no tip is new
	work.commit("")
	publish(empty, false, true)
}

func TestMergeSigners(t *testing.T) {
	many := make([][]byte, refs.MaxSigners)
	for i := range many {
		many[i] = fmt.Appendf(nil, "%03d", i)
	}
	for _, c := range []struct {
		name       string
		fresh, old [][]byte
		want       [][]byte
	}{
		{name: "none"},
		{"sorted, once", [][]byte{[]byte("c"), []byte("a"), []byte("c")}, [][]byte{[]byte("b"), []byte("c")}, [][]byte{[]byte("a"), []byte("b"), []byte("c")}},
		{"the new ones stay", [][]byte{[]byte("z")}, many, append(slices.Clone(many[:len(many)-1]), []byte("z"))},
		{"too long, or nothing", [][]byte{bytes.Repeat([]byte("x"), refs.MaxSignerBytes+1), {}}, nil, nil},
	} {
		if got := mergeSigners(c.fresh, c.old); !slices.EqualFunc(got, c.want, bytes.Equal) {
			t.Errorf("%s: mergeSigners = %q, want %q", c.name, got, c.want)
		}
	}
}

// TestOvertakenWhilePacking publishes on two computers with one key in turn. The
// one that was overtaken is refused; nothing of what it packed meanwhile stays,
// nor has its state changed.
func TestOvertakenWhilePacking(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	alice.publish(work)
	other := newPerson(t, net)
	key, err := os.ReadFile(alice.home.KeyFile())
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(other.home.KeyFile()), 0o700), os.WriteFile(other.home.KeyFile(), key, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	other.start()
	url := "gitpeer://" + mustID(t, alice) + "/tools"
	if _, err := other.client.Fetch(t.Context(), FetchRequest{URL: url}, nil); err != nil {
		t.Fatal(err)
	}
	work.commit("")
	other.publish(work)
	tip := work.commit("")
	a, err := refs.ParseAddress(url)
	if err != nil {
		t.Fatal(err)
	}
	dir := alice.home.Mirror(a)
	was, err := os.ReadFile(filepath.Join(dir, "gitpeer", "record"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = alice.client.Publish(t.Context(), PublishRequest{Dir: work.dir}, nil)
	wantCode(t, err, trust.Moved)

	left, err := filepath.Glob(filepath.Join(dir, "gitpeer", quarantinePrefix+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %q, %v", left, err)
	}
	if missing, err := (gitcmd.Repo{Dir: dir}).Missing(t.Context(), []refs.OID{tip}); err != nil || len(missing) != 1 {
		t.Errorf("the refused commit: missing %v, %v; want it not to be in the mirror", missing, err)
	}
	if now, err := os.ReadFile(filepath.Join(dir, "gitpeer", "record")); err != nil || !bytes.Equal(now, was) {
		t.Errorf("the record is %q, %v, want the one before: %q", now, err, was)
	}
}

// TestBasesAfter: where all tips of the last snapshot are passed, git need not
// be asked, which is not there.
func TestBasesAfter(t *testing.T) {
	oid := func(digit string) refs.OID { return refs.OID(strings.Repeat(digit, 40)) }
	s := &refs.Snapshot{
		Number: 9, Refs: []refs.Ref{{Name: "refs/heads/a", OID: oid("4")}, {Name: "refs/tags/b", OID: oid("2")}},
		Packs: []refs.Pack{{From: 0, To: 8}, {From: 8, To: 9}},
	}
	old := bases{8: {oid("3"), oid("2")}, 0: {oid("1")}, 7: {oid("5")}}
	nowhere := gitcmd.Repo{Dir: filepath.Join(t.TempDir(), "none")}
	got, err := old.after(t.Context(), nowhere, s, map[refs.OID]bool{oid("3"): true})
	want := bases{9: {oid("4"), oid("2")}, 8: {oid("3"), oid("2")}, 0: {oid("1")}}
	if err != nil || !equalBases(got, want) {
		t.Errorf("after = %v, %v, want %v", got, err, want)
	}
	for name, passed := range map[string]map[refs.OID]bool{"nothing": nil, "another": {oid("1"): true}} {
		var failed *gitcmd.Error
		if _, err := old.after(t.Context(), nowhere, s, passed); !errors.As(err, &failed) {
			t.Errorf("after, where %s is passed: %v, want git to have been asked", name, err)
		}
	}
	delete(old, 8)
	if _, err := old.after(t.Context(), nowhere, s, map[refs.OID]bool{oid("3"): true}); err == nil {
		t.Error("after, where the last bases are not known: no error, want git to have been asked")
	}
}

func equalBases(a, b bases) bool {
	if len(a) != len(b) {
		return false
	}
	for from, oids := range a {
		other, ok := b[from]
		if !ok || !slices.Equal(slices.Sorted(slices.Values(oids)), slices.Sorted(slices.Values(other))) {
			return false
		}
	}
	return true
}

func TestBasesAreStored(t *testing.T) {
	m := &mirror{dir: t.TempDir()}
	if err := os.Mkdir(m.path(), 0o700); err != nil {
		t.Fatal(err)
	}
	want := bases{0: {}, 3: {}}
	for i := range 20 {
		oid := refs.OID(fmt.Sprintf("%040d", i+1))
		if want[3] = append(want[3], oid); i%3 == 0 {
			want[17] = append(want[17], oid)
		}
	}
	want[18] = []refs.OID{refs.OID(strings.Repeat("f", 40))}
	text, err := want.format(18)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.path("bases"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := m.loadBases(18); err != nil || !equalBases(got, want) {
		t.Errorf("loadBases = %v, %v, want %v", got, err, want)
	}
	if got, err := m.loadBases(19); err != nil || len(got) != 0 {
		t.Errorf("loadBases of another snapshot = %v, %v, want none", got, err)
	}
	for _, bad := range []string{`{"number":18,"tips":["` + strings.Repeat("f", 40) + `"],"sets":{"1":"Ag=="}}`, `{"number":18,`,
		`{"number":18,"tips":["--all"],"sets":{"1":"AQ=="}}`} {
		if err := os.WriteFile(m.path("bases"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := m.loadBases(18); err == nil {
			t.Errorf("loadBases of %s: no error", bad)
		}
	}
}

// TestHistoryAsksOnce pushes a commit where git could be asked only once.
func TestHistoryAsksOnce(t *testing.T) {
	work := newWorkTree(t, "sha1")
	one, two := work.commit(""), work.commit("")
	h := newHistory(gitcmd.Repo{Dir: filepath.Join(work.dir, ".git")})
	if forward, err := h.IsAncestor(t.Context(), one, two); err != nil || !forward {
		t.Fatalf("IsAncestor = %v, %v, want true", forward, err)
	}
	if back, err := h.IsAncestor(t.Context(), two, one); err != nil || back {
		t.Fatalf("IsAncestor the other way = %v, %v, want false", back, err)
	}
	h.Dir = filepath.Join(work.dir, "none")
	_, passed, err := rewinds(t.Context(), h, []refs.Ref{{Name: "refs/heads/main", OID: one}}, []refs.Ref{{Name: "refs/heads/main", OID: two}})
	if err != nil || !passed[one] {
		t.Errorf("rewinds: passed %v, %v, want the old tip without asking again", passed, err)
	}
	notes, passed, err := rewinds(t.Context(), h, []refs.Ref{{Name: "refs/heads/main", OID: two}}, []refs.Ref{{Name: "refs/heads/main", OID: one}})
	if err != nil || len(notes) != 1 || passed[two] {
		t.Errorf("rewinds of a branch that goes back: %q, passed %v, %v, want one note", notes, passed, err)
	}
	notes, _, err = rewinds(t.Context(), h, []refs.Ref{{Name: "refs/heads/gone", OID: one}, {Name: "refs/tags/gone", OID: one}, {Name: "refs/tags/moved", OID: one}},
		[]refs.Ref{{Name: "refs/tags/moved", OID: two}, {Name: "refs/tags/new", OID: two}})
	if err != nil || len(notes) != 2 || !strings.Contains(notes[0], "tag moved moved") || !strings.Contains(notes[1], "tag gone is gone") || !strings.Contains(notes[1], string(one)+":refs/tags/gone") {
		t.Errorf("rewinds of tags: %q, %v, want a note of the one that moved and of the one that is gone", notes, err)
	}
	if _, err := h.IsAncestor(t.Context(), one, one); err == nil {
		t.Error("IsAncestor of what was not asked for, without a repository: no error")
	}
}

func TestJudgeUpdates(t *testing.T) {
	oid := func(digit string) refs.OID { return refs.OID(strings.Repeat(digit, 40)) }
	old, next, aside, gone := oid("1"), oid("2"), oid("3"), oid("4")
	none, tree := refs.OID(""), oid("5")
	kinds := map[refs.OID]string{old: "commit", next: "commit", aside: "commit", tree: "tree"}
	h := newHistory(gitcmd.Repo{Dir: filepath.Join(t.TempDir(), "none")})
	h.forward[[2]refs.OID{old, next}] = true
	h.forward[[2]refs.OID{old, aside}] = false
	const main, tag = refs.Name("refs/heads/main"), refs.Name("refs/tags/v1")
	for _, c := range []struct {
		name string
		have refs.OID
		u    RefUpdate
		want string
	}{
		{"a new branch", "", RefUpdate{Dst: main, New: next}, ""},
		{"the same", old, RefUpdate{Dst: main, New: old}, ""},
		{"forward", old, RefUpdate{Dst: main, New: next}, ""},
		{"aside", old, RefUpdate{Dst: main, New: aside}, problemRewind},
		{"aside, forced", old, RefUpdate{Dst: main, New: aside, Force: true}, ""},
		{"aside, as expected", old, RefUpdate{Dst: main, New: aside, Expect: &old}, ""},
		{"not as expected", old, RefUpdate{Dst: main, New: next, Expect: &next}, problemLease},
		{"there, expected not to be", old, RefUpdate{Dst: main, New: next, Expect: &none}, problemLease},
		{"a tag moves", old, RefUpdate{Dst: tag, New: next}, problemExists},
		{"an object that is missing", old, RefUpdate{Dst: main, New: gone, Force: true}, problemMissing},
		{"a branch on a tree", "", RefUpdate{Dst: main, New: tree, Force: true}, problemKind},
		{"a tag on a tree", "", RefUpdate{Dst: tag, New: tree}, ""},
		{"a name that cannot be published", "", RefUpdate{Dst: "refs/notes/x", New: next}, problemName},
		{"deleting what is not there", "", RefUpdate{Dst: tag}, problemAbsent},
		{"deleting the current branch", old, RefUpdate{Dst: main}, problemHead},
		{"deleting a tag", old, RefUpdate{Dst: tag}, ""},
	} {
		got := judgeUpdate(c.have, main, c.u, kinds)
		if got == "" {
			var err error
			if got, err = judgeMove(t.Context(), h, c.have, c.u); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestSettle: what was accepted here before its record could be put, as by a node
// that was killed, is in the DHT once settle says so.
func TestSettle(t *testing.T) {
	alice, work := publisher(t, loopback(t), 1)
	url := alice.publish(work).URL
	alice.stop()
	elsewhere := newDHT(t) // knows nothing of it
	alice.net, alice.env["GITPEER_BOOTSTRAP"] = elsewhere, strings.Join(elsewhere.Bootstrap(), ",")
	if err := os.RemoveAll(alice.home.stateDir()); err != nil {
		t.Fatal(err)
	}
	alice.start()
	if err := alice.client.Settle(t.Context(), SettleRequest{URL: url}, nil); err != nil {
		t.Fatal(err)
	}
	bob := newPerson(t, elsewhere).start()
	if res, err := bob.client.Resolve(t.Context(), ResolveRequest{URL: url}, nil); err != nil || res.Agreed < 4 {
		t.Errorf("Resolve() right after Settle() = %+v, %v", res, err)
	}
	if err := alice.client.Settle(t.Context(), SettleRequest{URL: url + "x"}, nil); err != nil {
		t.Errorf("Settle() of what was never published = %v", err)
	}
	alice.isolate()
	var e *Error
	if err := alice.client.Settle(t.Context(), SettleRequest{URL: url}, nil); !errors.As(err, &e) || e.Code != trust.TryLater || e.Hint == "" {
		t.Errorf("Settle() without a network = %v, want %v and what to do", err, trust.TryLater)
	}
}

// TestNoBranchOnATree: git would refuse it only once all the rest had been done.
func TestNoBranchOnATree(t *testing.T) {
	alice, work := publisher(t, loopback(t), 1)
	url := alice.publish(work).URL
	tree := refs.OID(work.git("rev-parse", "HEAD^{tree}"))
	const name = refs.Name("refs/heads/tree")
	res, err := alice.client.Push(t.Context(), PushRequest{URL: url, GitDir: filepath.Join(work.dir, ".git"), Updates: []RefUpdate{{Dst: name, New: tree}}}, nil)
	if err != nil || len(res.Refs) != 1 || res.Refs[0].Problem != problemKind {
		t.Errorf("Push of a tree = %+v, %v, want %q", res, err, problemKind)
	}
	packed := fmt.Sprintf("# pack-refs with: peeled fully-peeled sorted \n%s %s\n", tree, name)
	if err := os.WriteFile(filepath.Join(work.dir, ".git", "packed-refs"), []byte(packed), 0o600); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, err := alice.client.Publish(t.Context(), PublishRequest{Dir: work.dir}, nil); !errors.As(err, &e) || e.Code != trust.Usage || !strings.Contains(e.Hint, string(name)) {
		t.Errorf("Publish with a branch on a tree = %v, want a usage error", err)
	}
	work.git("update-ref", "-d", string(name))
	work.commit("")
	if res := alice.publish(work); res.Number != 2 {
		t.Errorf("then published as number %d, want 2", res.Number)
	}
}

// TestPublishWhatCannotBe: what is wrong with the command is no internal error.
func TestPublishWhatCannotBe(t *testing.T) {
	alice, work := publisher(t, loopback(t), 1)
	url := alice.publish(work).URL
	partial := newWorkTree(t, "sha1")
	partial.commit("")
	partial.git("config", "remote.origin.promisor", "true")
	for want, op := range map[string]func() error{
		"no such file": func() error {
			_, err := alice.client.Publish(t.Context(), PublishRequest{Dir: filepath.Join(work.dir, "none")}, nil)
			return err
		},
		"UPPER": func() error {
			_, err := alice.client.Publish(t.Context(), PublishRequest{Dir: work.dir, Name: "UPPER"}, nil)
			return err
		},
		"partial clone": func() error {
			_, err := alice.client.Publish(t.Context(), PublishRequest{Dir: partial.dir}, nil)
			return err
		},
		"not a directory": func() error {
			_, err := alice.client.Export(t.Context(), ExportRequest{URL: url, Dir: filepath.Join(os.DevNull, "x")}, nil)
			return err
		},
	} {
		var e *Error
		if err := op(); !errors.As(err, &e) || e.Code != trust.Usage || !strings.Contains(e.Message, want) || e.Hint == "" {
			t.Errorf("%q: %v, want a usage error that says so, and a hint", want, err)
		}
	}
}

func TestStartProblem(t *testing.T) {
	for _, c := range []struct {
		code      int
		said      string
		want      trust.Code
		msg, hint string
	}{
		{2, "gitpeer: error: config:2: no", trust.Usage, "config:2: no", ""},
		{2, "level=INFO\ngitpeer: error: config:2: no\n    more\nhint: edit it", trust.Usage, "config:2: no\n    more", "edit it"},
		{2, "panic: x", trust.Internal, "the node ended at once: panic: x", "gitpeer daemon    # runs it in the foreground"},
		{0, "gitpeer: error: x", trust.Internal, "the node ended at once: gitpeer: error: x", "gitpeer daemon    # runs it in the foreground"},
	} {
		var e *Error
		if err := startProblem(c.code, c.said); !errors.As(err, &e) || e.Code != c.want || e.Message != c.msg || e.Hint != c.hint {
			t.Errorf("startProblem(%d, %q) = %+v", c.code, c.said, err)
		}
	}
}
