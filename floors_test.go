package gitpeer

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

const module = "github.com/gitpeer/gitpeer"

// levels orders the packages: each imports only what stands lower. The tens are
// the floors of the package comment; the rest orders the arrows within one.
var levels = map[string]int{
	".":                      0,
	"keys/durable":           0,
	"keys":                   1,
	"refs/bencode":           10,
	"refs":                   11,
	"announce":               20,
	"trust":                  20,
	"announce/dhttest":       21,
	"swarm":                  30,
	"testnet":                31,
	"cmd/internal/gitcmd":    40,
	"cmd/internal/packfile":  40,
	"cmd/internal/gpg":       41,
	"cmd/internal/node":      42,
	"cmd/internal/ui":        43,
	"cmd/internal/bench":     44,
	"cmd/gitpeer":            44,
	"cmd/git-remote-gitpeer": 44,
}

// forTests lists the packages that only tests may import, with those that may
// all the same.
var forTests = map[string][]string{
	"testnet":          {"cmd/gitpeer"},
	"announce/dhttest": nil,
}

// A source is one Go file.
type source struct {
	path    string // from the root of the module, with slashes
	imports []string
	runsGit bool // it has a call of exec.Command or CommandContext with "git"
}

func (s source) pkg() string  { return path.Dir(s.path) }
func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// under reports whether pkg is one of dirs or lies below one.
func under(pkg string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		return pkg == dir || strings.HasPrefix(pkg, dir+"/")
	})
}

// check returns what is wrong with the imports of s.
func check(s source) (wrong []string) {
	level, ok := levels[s.pkg()]
	if !ok {
		return []string{fmt.Sprintf("%s: package %s is not on the map of the package comment", s.path, s.pkg())}
	}
	for _, imp := range s.imports {
		reason := ""
		if own, ours := strings.CutPrefix(imp, module+"/"); ours {
			reason = checkOwn(s, level, own)
		} else {
			reason = checkForeign(s, imp)
		}
		if reason != "" {
			wrong = append(wrong, fmt.Sprintf("%s imports %s: %s", s.path, imp, reason))
		}
	}
	// bench measures the git that users run; nothing of gitpeer depends on it.
	if s.runsGit && !s.isTest() && s.pkg() != "cmd/internal/gitcmd" && s.pkg() != "cmd/internal/bench" {
		wrong = append(wrong, s.path+" runs git: only cmd/internal/gitcmd does")
	}
	return wrong
}

func checkOwn(s source, level int, imported string) string {
	at, ok := levels[imported]
	allowed, testsOnly := forTests[imported]
	switch {
	case !ok:
		return "not on the map"
	case s.isTest() && (testsOnly || imported == s.pkg()):
		return ""
	case testsOnly && !slices.Contains(allowed, s.pkg()):
		return "only tests import it"
	case at >= level:
		return "not on a floor below"
	}
	return ""
}

func checkForeign(s source, imp string) string {
	pure := under(s.pkg(), "keys", "refs", "announce", "trust") && !s.isTest()
	switch {
	case strings.HasPrefix(imp, "github.com/anacrolix/") && s.pkg() != "swarm":
		return "only swarm knows anacrolix"
	case s.isTest():
		return ""
	case imp == "os/exec" && !under(s.pkg(), "cmd"):
		return "only commands run programs"
	case pure && under(imp, "net") && !isDialless(s, imp):
		return "this package does not dial"
	}
	return ""
}

// isDialless reports whether imp is a part of net that opens no connection, or
// the file is the one that speaks to the ssh-agent over its unix socket.
func isDialless(s source, imp string) bool {
	return imp == "net/netip" || imp == "net/url" || imp == "net" && s.path == "keys/agent.go"
}

// readSources parses all Go files of the module.
func readSources(t *testing.T) (out []source) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		s := source{path: filepath.ToSlash(name)}
		for _, spec := range file.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, imp)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s.runsGit = s.runsGit || isGitCommand(n)
			return true
		})
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// isGitCommand reports whether n is exec.Command("git", …) or
// exec.CommandContext(ctx, "git", …).
func isGitCommand(n ast.Node) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !strings.HasPrefix(f.Sel.Name, "Command") {
		return false
	}
	if x, ok := f.X.(*ast.Ident); !ok || x.Name != "exec" {
		return false
	}
	return slices.ContainsFunc(call.Args, func(arg ast.Expr) bool {
		lit, ok := arg.(*ast.BasicLit)
		return ok && lit.Value == `"git"`
	})
}

func TestFloors(t *testing.T) {
	sources := readSources(t)
	if len(sources) < 10 {
		t.Fatalf("found %d files only", len(sources))
	}
	documented := map[string]bool{}
	for _, s := range sources {
		for _, wrong := range check(s) {
			t.Error(wrong)
		}
		documented[s.pkg()] = documented[s.pkg()] || path.Base(s.path) == "doc.go"
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc.go", pkg)
		}
	}
}

// Every package with a doc.go says what it is there, and the map of the root
// has it.
func TestDocs(t *testing.T) {
	root, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range readSources(t) {
		if path.Base(s.path) != "doc.go" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(s.path), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if len(file.Doc.Text()) < 100 {
			t.Errorf("%s has no package comment to speak of", s.path)
		}
		if s.pkg() != "." && !strings.Contains(root.Doc.Text(), s.pkg()+" ") {
			t.Errorf("the map of the root package lacks %s", s.pkg())
		}
	}
}

// The check itself finds each kind of arrow that is not on the map.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		file, imports string
		want          string // "" if it is fine
	}{
		{"refs/name.go", module + "/keys", ""},
		{"refs/record.go", module + "/refs/bencode", ""},
		{"keys/id.go", module + "/refs", "not on a floor below"},
		{"refs/bencode/x.go", module + "/refs", "not on a floor below"},
		{"announce/x.go", module + "/trust", "not on a floor below"},
		{"trust/x.go", module + "/announce", "not on a floor below"},
		{"announce/x.go", module + "/swarm", "not on a floor below"},
		{"announce/x_test.go", module + "/swarm", "not on a floor below"},
		{"announce/x_test.go", module + "/announce", ""},
		{"announce/x_test.go", module + "/testnet", ""},
		{"announce/x.go", module + "/announce/dhttest", "only tests import it"},
		{"swarm/x.go", module + "/testnet", "only tests import it"},
		{"testnet/x.go", module + "/swarm", ""},
		{"cmd/gitpeer/testnet.go", module + "/testnet", ""},
		{"cmd/git-remote-gitpeer/x.go", module + "/testnet", "only tests import it"},
		{"cmd/internal/gitcmd/x.go", module + "/cmd/internal/node", "not on a floor below"},
		{"cmd/internal/node/x.go", module + "/cmd/internal/ui", "not on a floor below"},
		{"cmd/internal/node/x.go", module + "/util", "not on the map"},
		{"util/x.go", "fmt", "not on the map"},
		{"swarm/x.go", "github.com/anacrolix/dht/v2", ""},
		{"testnet/x.go", "github.com/anacrolix/dht/v2", "only swarm"},
		{"cmd/internal/node/x_test.go", "github.com/anacrolix/torrent", "only swarm"},
		{"cmd/internal/gpg/x.go", "os/exec", ""},
		{"swarm/x.go", "os/exec", "only commands run programs"},
		{"refs/x_test.go", "os/exec", ""},
		{"refs/x.go", "net", "does not dial"},
		{"announce/x.go", "net/http", "does not dial"},
		{"announce/x.go", "net/netip", ""},
		{"keys/agent.go", "net", ""},
		{"keys/cert.go", "net", "does not dial"},
		{"swarm/x.go", "net", ""},
	} {
		wrong := check(source{path: c.file, imports: []string{c.imports}})
		if got := strings.Join(wrong, "\n"); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s imports %s: %q, want %q", c.file, c.imports, got, c.want)
		}
	}
	for file, want := range map[string]bool{"cmd/internal/node/x.go": true, "cmd/internal/gitcmd/x.go": false, "cmd/gitpeer/x_test.go": false} {
		if got := len(check(source{path: file, runsGit: true})) > 0; got != want {
			t.Errorf("%s runs git: refused %v, want %v", file, got, want)
		}
	}
	for expr, want := range map[string]bool{
		`exec.Command("git", "log")`: true, `exec.CommandContext(ctx, "git")`: true,
		`exec.Command("gpg")`: false, `exec.Command(program)`: false, `run("git")`: false,
	} {
		if e, err := parser.ParseExpr(expr); err != nil || isGitCommand(e) != want {
			t.Errorf("isGitCommand(%s) = %v, %v, want %v", expr, !want, err, want)
		}
	}
}

// TestA45Versions: below these versions are holes that TRUST.md counts on being
// closed (TRUST.md §5, A45; DESIGN.md §7).
func TestA45Versions(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	have := make(map[string]string)
	for _, r := range mod.Require {
		have[r.Mod.Path] = r.Mod.Version
	}
	for path, floor := range map[string]string{
		"github.com/ProtonMail/go-crypto": "v1.5.2",
		"github.com/cloudflare/circl":     "v1.6.3",
		"github.com/go-git/go-git/v5":     "v5.19.2",
		"github.com/anacrolix/dht/v2":     "v2.24.0",
		"github.com/anacrolix/torrent":    "v1.61.0",
		"github.com/pjbgf/sha1cd":         "v0.6.0",
	} {
		if semver.Compare(have[path], floor) < 0 {
			t.Errorf("%s is at %q, want %s or later", path, have[path], floor)
		}
	}
	for _, r := range mod.Replace {
		t.Errorf("go.mod replaces %s", r.Old.Path)
	}
}
