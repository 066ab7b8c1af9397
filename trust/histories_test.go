package trust

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// The histories that nobody here wrote. `make histories DIR=…` names a folder
// of bare repositories; docs/histories.md has the results for seven public
// ones and explains each difference.

// sampled is how many commits that we accept git is asked about, unless
// GITPEER_HISTORIES_SAMPLE says otherwise: git starts gpg for each.
const sampled = 1000

// eachRefusal is how many of each kind of refusal git is asked about.
const eachRefusal = 200

// A published introduction of a guix channel, from the channel's own
// documentation.
type introduction struct {
	channel string
	commit  refs.OID
	signer  string
	tip     []string // the first of these refs that exists
}

var introductions = []introduction{
	{"guix", "9edb3f66fd807b096b48283debdcddccfea34bad", "BBB02DDF2CEAF6A80D1DE643A2A06DF2A33A54FA",
		[]string{"refs/remotes/upstream/master", "refs/heads/master", "refs/pull/2/head^"}},
	{"nonguix", "897c1a470da759236cc11798f4e0a5f7d4d59fbc", "2A393FFF68F4EF7A3D2912AF6F5120A022FBB2D5", []string{"refs/heads/master"}},
}

// TestHistories compares verdicts about real histories with those of git.
func TestHistories(t *testing.T) {
	folder := os.Getenv("GITPEER_HISTORIES")
	if folder == "" {
		t.Skip("GITPEER_HISTORIES names no folder of bare repositories")
	}
	for _, r := range findBare(t, folder) {
		t.Run(r.name, func(t *testing.T) {
			r.t = t
			found := r.keys()
			found.addFiles(t, filepath.Join(folder, "keys"))
			policy, certs := found.signers(t)
			t.Logf("%d OpenPGP certificates and %d SSH keys in the repository", len(certs), len(found.ssh))
			s := survey(t, r, policy)
			s.report()
			t.Run("git", func(t *testing.T) {
				r.t = t
				r.trustInGit(found)
				s.compare(t)
			})
			t.Run("resigned", func(t *testing.T) {
				r.t = t
				resign(t, r)
			})
			t.Run("guix", func(t *testing.T) {
				r.t = t
				checkGuix(t, r, certs)
			})
			r.t = t
		})
	}
}

// A surveyed is every commit and annotated tag that the refs of a repository
// reach, attested with the keys that the repository holds.
type surveyed struct {
	t       testing.TB
	repo    *bareRepo
	commits map[refs.OID]*attestation
	tags    map[refs.OID]*attestation
	missing int // reached, and not readable
}

func survey(t testing.TB, r *bareRepo, p *Policy) *surveyed {
	t.Helper()
	s := &surveyed{t: t, repo: r, commits: make(map[refs.OID]*attestation), tags: make(map[refs.OID]*attestation)}
	v := &verifier{policy: p, format: refs.SHA1, now: time.Now()}
	store := r.store()
	var tips []refs.OID
	for _, l := range r.lines("for-each-ref", "--format=%(objectname) %(objecttype) %(*objectname) %(*objecttype)") {
		switch f := strings.Fields(l); {
		case f[1] == "commit":
			tips = append(tips, refs.OID(f[0]))
		case f[1] == "tag":
			a := v.tip(store, refs.Ref{OID: refs.OID(f[0])})
			s.tags[refs.OID(f[0])] = &a
			if f[3] == "commit" {
				tips = append(tips, refs.OID(f[2]))
			}
		}
	}
	runtime.GC()
	resetPeak()
	before, busy, start := peak(), cpuTime(), time.Now()
	h := newHistory(v, store)
	yielded, err := h.stream(sortOIDs(tips), nil, forSignature)
	took, after := time.Since(start), peak()
	busy = cpuTime() - busy
	if err != nil {
		t.Errorf("reading: %v", err)
	}
	n := 0
	for i := range h.index.n {
		if !yielded.has(i) {
			continue
		}
		n++
		oid := h.oid(i)
		a, ok := h.attestation(i)
		if !ok {
			s.missing++
			o, err := store.Read(oid)
			if err == nil {
				err = v.examine(o, forSignature).err
			}
			t.Errorf("commit %s: %v", oid, err)
			continue
		}
		s.commits[oid] = &a
	}
	t.Logf("%d commits in %.1f s, %.1f s of processor time, with GOMAXPROCS=%d; resident peak %d MB, %d MB before",
		n, took.Seconds(), busy.Seconds(), runtime.GOMAXPROCS(0), after>>20, before>>20)
	return s
}

var details = regexp.MustCompile(`[0-9A-F]{16,64}|SHA256:\S+|\d{4}-\d\d-\d\d|"[^"]*"`)

// kind is what an attestation says without what is particular to the object.
func kind(a *attestation) string {
	if a.code == OK && a.hard {
		return "ok, by a key that was revoked for compromise or no reason"
	}
	if a.code == OK {
		return "ok"
	}
	return fmt.Sprintf("%d %s", a.code, details.ReplaceAllString(a.why, "…"))
}

// report prints how many commits and tags there are of each kind.
func (s *surveyed) report() {
	for what, objects := range map[string]map[refs.OID]*attestation{"commits": s.commits, "tags": s.tags} {
		count := make(map[string]int)
		example := make(map[string]refs.OID)
		for oid, a := range objects {
			count[kind(a)]++
			example[kind(a)] = max(example[kind(a)], oid)
		}
		for _, k := range slices.SortedFunc(maps.Keys(count), func(a, b string) int { return cmp.Or(count[b]-count[a], cmp.Compare(a, b)) }) {
			s.t.Logf("%7d %s: %s (such as %s)", count[k], what, k, example[k])
		}
	}
}

// A difference is a pair of verdicts that do not say the same.
type difference struct {
	ours   *regexp.Regexp // kind
	git    string         // letters of %G?
	reason string
}

// explained are the differences that are meant to be. docs/histories.md has
// each with its reason at length.
var explained = []difference{
	{regexp.MustCompile(`uses SHA-1$`), "GYRX", "SHA-1 signatures are refused (TRUST.md §4.1)"},
	{regexp.MustCompile(`uses DSA$|too weak`), "GYRX", "DSA and short RSA keys are refused (TRUST.md §4.1)"},
	{regexp.MustCompile(`^ok$`), "Y", "the key expired after it signed: git asks whether it is valid today"},
	{regexp.MustCompile(`^ok$`), "R", "the key was superseded or retired after it signed"},
	{regexp.MustCompile(`X\.509`), "NEU", "gitpeer does not check X.509; git asks gpgsm, which knows of no authority here"},
	{regexp.MustCompile(`a version 3 signature`), "GYR", "version 3 signatures, of GnuPG 1.x, are refused (TRUST.md §4.1)"},
	{regexp.MustCompile(`two signatures`), "G", "a draft of the gpgsig header, once on each line, which git still reads as one"},
	{regexp.MustCompile(`when the key … had expired$`), "GY", "the key was expired at the time of the signature"},
}

// agrees reports whether git's letter says the same as the attestation.
func agrees(a *attestation, letter string) bool {
	switch a.code {
	case OK:
		return !a.hard && (letter == "G" || letter == "U") || a.hard && (letter == "R" || letter == "Y")
	case Unsigned:
		return letter == "N"
	case Untrusted:
		// git has no letter for an SSH key that no line lists: U and no principal
		return letter == "E" || letter == "U" && strings.Contains(a.why, "SHA256:")
	case BadSignature:
		return letter == "B" || letter == "E" || letter == "dies" || letter == "?"
	}
	return letter != "G" && letter != "U"
}

// pick chooses what git is asked about: all kinds of refusals, and accepted
// ones evenly.
func (s *surveyed) pick() []refs.OID {
	n := sampled
	if text := os.Getenv("GITPEER_HISTORIES_SAMPLE"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			s.t.Fatal(err)
		}
	}
	byKind := make(map[string][]refs.OID)
	for oid, a := range s.commits {
		byKind[kind(a)] = append(byKind[kind(a)], oid)
	}
	var chosen []refs.OID
	for k, oids := range byKind {
		slices.Sort(oids) // as good as at random, and the same each time
		most := max(n/5, eachRefusal)
		if k == "ok" {
			most = n
		}
		chosen = append(chosen, oids[:min(most, len(oids))]...)
	}
	slices.Sort(chosen)
	return chosen
}

// compare holds the verdicts against git's.
func (s *surveyed) compare(t *testing.T) {
	chosen := s.pick()
	start := time.Now()
	letters := s.repo.letters(chosen)
	took := time.Since(start)
	t.Logf("git judged %d of %d commits in %.1f s: %.0f commits/s", len(letters), len(s.commits), took.Seconds(), float64(len(letters))/took.Seconds())
	s.exits(t, letters)
	s.expiries(t)
	same := 0
	count, example := make(map[string]int), make(map[string]refs.OID)
	note := func(what string, oid refs.OID, a *attestation, letter string) {
		if agrees(a, letter) {
			same++
			return
		}
		reason := "NOT EXPLAINED"
		for _, d := range explained {
			if d.ours.MatchString(kind(a)) && strings.Contains(d.git, letter) {
				reason = d.reason
			}
		}
		k := fmt.Sprintf("%s: git %s, gitpeer %s: %s", what, letter, kind(a), reason)
		count[k]++
		example[k] = oid
	}
	for oid, letter := range letters {
		note("commits", oid, s.commits[oid], letter)
	}
	for oid, a := range s.tags {
		note("tags", oid, a, s.repo.tagLetter(oid))
	}
	t.Logf("the same verdict about %d of %d commits and tags", same, len(letters)+len(s.tags))
	for _, k := range slices.Sorted(maps.Keys(count)) {
		log := t.Logf
		if strings.HasSuffix(k, "NOT EXPLAINED") {
			log = t.Errorf
		}
		log("%7d %s (such as %s)", count[k], k, example[k])
	}
}

// exits checks what the letters mean to git verify-commit, on a few of each.
func (s *surveyed) exits(t *testing.T, letters map[refs.OID]string) {
	const few = 20
	tried, passed := make(map[string]int), make(map[string]int)
	for _, oid := range slices.Sorted(maps.Keys(letters)) {
		l := letters[oid]
		if tried[l] == few {
			continue
		}
		tried[l]++
		if _, err := s.repo.git("", "verify-commit", string(oid)); err == nil {
			passed[l]++
		}
	}
	t.Logf("git verify-commit passes, by letter of %%G?: %v of %v", passed, tried)
}

// expiries holds what the verdicts say of expired keys against the times at
// which gpg says that they expire: for every commit, without asking git.
func (s *surveyed) expiries(t *testing.T) {
	out, err := s.repo.command("gpg", "--batch", "--with-colons", "--with-subkey-fingerprint", "--list-keys").Output()
	if err != nil {
		return // an empty keyring
	}
	ends := make(map[string]int64)
	var primary, end int64
	for l := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(l), ":")
		switch {
		case f[0] == "pub" || f[0] == "sub":
			end, _ = strconv.ParseInt(f[6], 10, 64)
			if f[0] == "pub" {
				primary = end
			} else if primary != 0 && (end == 0 || primary < end) {
				end = primary
			}
		case f[0] == "fpr":
			ends[f[9]] = end
		}
	}
	checked, expired, differ := 0, 0, 0
	for oid, a := range s.commits {
		if a.by == nil || a.by.pgp == nil || a.code != OK && a.code != BadTime {
			continue
		}
		end, ok := ends[a.by.fingerprint()]
		if !ok {
			t.Errorf("gpg does not know %s", a.by.fingerprint())
			continue
		}
		ours, gpgs := strings.Contains(a.why, "expired"), end != 0 && a.time > end
		checked++
		if ours {
			expired++
		}
		if ours != gpgs {
			if differ++; differ > 10 {
				continue
			}
			t.Errorf("%s, signed at %d: gitpeer says expired %t; gpg has the key expire at %d", oid, a.time, ours, end)
		}
	}
	t.Logf("%d of %d signatures were made after the key's expiry; gpg has other dates for %d", expired, checked, differ)
}

// checkGuix authenticates a channel from its published introduction.
func checkGuix(t *testing.T, r *bareRepo, certs []*keys.Certificate) {
	in, tip, ok := r.channel()
	if !ok {
		t.Skip("not a guix channel whose introduction is known here")
	}
	n := r.lines("rev-list", "--count", string(in.commit)+".."+string(tip))[0]
	v := GuixQuery{ObjectFormat: refs.SHA1, Introduction: in.commit, Signer: in.signer, Tip: tip, Keyring: certs}.Examine(r.store(), time.Now())
	t.Logf("%s: %s commits from the introduction up to %s: %v %s", in.channel, n, tip, v.Code, v.Why)
	if v.Code != OK {
		t.Errorf("%s is refused: %s", in.channel, v.Why)
	}
}

// resetPeak forgets the peak of resident memory, where the kernel can.
func resetPeak() {
	debug.FreeOSMemory()
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// cpuTime returns the processor time that this process has used; 0 where it is
// not known.
func cpuTime() time.Duration {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all of Linux's ports for Go
	stat, _ := os.ReadFile("/proc/self/stat")
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(string(fields[11]))
	system, _ := strconv.Atoi(string(fields[12]))
	return time.Duration(user+system) * tick
}

// peak returns the peak of resident memory in bytes; 0 where it is not known.
func peak() int {
	status, _ := os.ReadFile("/proc/self/status")
	for l := range bytes.Lines(status) {
		if fields := bytes.Fields(l); len(fields) == 3 && string(fields[0]) == "VmHWM:" {
			kb, _ := strconv.Atoi(string(fields[1]))
			return kb << 10
		}
	}
	return 0
}
