package trust

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

const testSSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7w0ZKTM2bC1oFqRT+HJf5dsCA0h6RmTDmkDKFlWuYK"

// example is a policy with a bit of everything, as a person would write it.
var example = `# who may what
[gitpeer]
    version = 1
[publisher "alice"]
    key = ` + keys.FromSeed([32]byte{1}).ID().String() + `
[publisher "bob"]
    key = ` + keys.FromSeed([32]byte{2}).ID().String() + ` # all of his
    repos = all

[signer "bob"]
    ssh = "` + testSSH + ` bob # home"
    retired-at = 4b825dc642cb6eb9a060e54bf8d69288fbee4904
[repo "tools"]
    url = gitpeer://` + keys.FromSeed([32]byte{1}).ID().String() + `/tools
    publishers = alice
    introduction = 4b825dc642cb6eb9a060e54bf8d69288fbee4904
    max-stale = 7d
[rule "main"]
    repo = tools
    ref = refs/heads/main
    signers = bob
    mode = all                      # all | chain | tip | publisher
    quorum = 1
[rule "heads"]
    repo = tools
    ref = refs/heads/*
    signers = bob
    mode = tip
    rewind = allow
[rule "releases"]
    repo = tools
    ref = refs/tags/v*
    signers = bob
    tags = signed
[rule "bobs"]
    publisher = bob
    ref = refs/*
    mode = publisher
`

func TestParseExample(t *testing.T) {
	p, err := Parse(example, nil)
	if err != nil {
		t.Fatal(err)
	}
	alice, bob := keys.FromSeed([32]byte{1}).ID(), keys.FromSeed([32]byte{2}).ID()
	s := p.scope(refs.Address{Publisher: alice, Name: "tools"})
	for ref, want := range map[refs.Name]string{
		"refs/heads/main": "main", "refs/heads/mainly": "heads", "refs/heads/x/y": "heads", "refs/tags/v1": "releases", "refs/tags/w1": "",
	} {
		r, err := s.rule(ref)
		if got := ruleName(r); got != want || (err == nil) != (want != "") {
			t.Errorf("rule(%s) = %q, %v, want %q", ref, got, err, want)
		}
	}
	for address, want := range map[refs.Address]bool{
		{Publisher: alice, Name: "tools"}: true, {Publisher: alice, Name: "other"}: false, {Publisher: bob, Name: "any"}: true,
	} {
		if _, known := p.Repo(address); known != want {
			t.Errorf("Repo(%s) known = %t, want %t", address, known, want)
		}
	}
	if r, err := p.scope(refs.Address{Publisher: bob, Name: "any"}).rule("refs/heads/main"); ruleName(r) != "bobs" {
		t.Errorf("rule for bob's = %v, %v, want bobs", r, err)
	}
	if a, err := p.ResolveURL("alice", "tools"); err != nil || a.Publisher != alice {
		t.Errorf("ResolveURL(alice) = %v, %v", a, err)
	}
	var unknown *PetnameError
	if _, err := p.ResolveURL("carol", "tools"); !errors.As(err, &unknown) {
		t.Errorf("ResolveURL(carol) = %v, want a *PetnameError", err)
	}
}

func ruleName(r *Rule) string {
	if r == nil {
		return ""
	}
	return r.Name
}

// TestConfigErrors: what is not understood is refused, at its line.
func TestConfigErrors(t *testing.T) {
	const head = "[gitpeer]\nversion = 1\n"
	url := "url = gitpeer://" + keys.FromSeed([32]byte{1}).ID().String() + "/tools\n"
	repo := head + "[repo \"r\"]\n" + url
	rule := repo + "[rule \"a\"]\nrepo = r\nref = refs/heads/*\n"
	for name, test := range map[string]struct {
		text string
		line int
	}{
		"version 2":            {"[gitpeer]\nversion = 2\n", 1},
		"no version":           {"[gitpeer]\n", 1},
		"no header":            {"[signer \"a\"]\nssh = " + testSSH + "\n", 1},
		"unknown section":      {head + "[alias \"x\"]\n", 3},
		"unknown key":          {repo + "colour = red\n", 5},
		"mistyped key":         {rule + "modes = tip\n", 8},
		"duplicate key":        {rule + "mode = tip\nmode = all\n", 9},
		"duplicate section":    {repo + "[repo \"r\"]\n" + url, 5},
		"include":              {head + "[include]\npath = x\n", 3},
		"continued line":       {repo + "good = a\\\nb\n", 5},
		"key before section":   {"mode = all\n", 1},
		"key without value":    {head + "[repo \"r\"]\nurl\n", 4},
		"empty value":          {head + "[repo \"r\"]\nurl =\n", 4},
		"quote not closed":     {head + "[repo \"r\"]\nurl = \"x\n", 4},
		"unnamed section":      {head + "[repo]\n" + url, 3},
		"upper-case name":      {head + "[repo \"R\"]\n" + url, 3},
		"bad mode":             {rule + "mode = most\n", 8},
		"bad quorum":           {rule + "quorum = 0\n", 8},
		"bad duration":         {repo + "max-stale = 7\n", 5},
		"abbreviated id":       {repo + "introduction = 4b825dc\n", 5},
		"bad url":              {head + "[repo \"r\"]\nurl = https://example.org/x\n", 4},
		"unknown repo":         {head + "[rule \"a\"]\nrepo = x\nref = refs/*\n", 3},
		"unknown signer":       {rule + "signers = nobody\n", 5},
		"unknown publisher":    {repo + "publishers = nobody\n", 3},
		"tie":                  {rule + "[rule \"b\"]\nrepo = r\nref = refs/heads/*\n", 8},
		"question mark":        {repo + "[rule \"a\"]\nrepo = r\nref = refs/heads/?\n", 5},
		"star inside":          {repo + "[rule \"a\"]\nrepo = r\nref = refs/*/main\n", 5},
		"signer without key":   {head + "[signer \"a\"]\nforge = true\n", 3},
		"signer with both":     {head + "[signer \"a\"]\nssh = " + testSSH + "\ncert = x\n", 3},
		"same ssh key":         {head + "[signer \"a\"]\nssh = " + testSSH + "\n[signer \"b\"]\nssh = " + testSSH + "\n", 5},
		"certificate path":     {head + "[signer \"a\"]\ncert = ../x.asc\n", 4},
		"certificate missing":  {head + "[signer \"a\"]\ncert = " + strings.Repeat("0", 64) + ".asc\n", 4},
		"control character":    {head + "[repo \"r\"]\nurl = \x1b[2J\n", 4},
		"flag":                 {head + "[signer \"a\"]\nssh = " + testSSH + "\nforge = yes\n", 5},
		"rule without scope":   {head + "[rule \"a\"]\nref = refs/*\n", 3},
		"publisher not all":    {head + "[publisher \"p\"]\nkey = " + keys.FromSeed([32]byte{1}).ID().String() + "\n[rule \"a\"]\npublisher = p\nref = refs/*\n", 5},
		"text after a section": {head + "[repo \"r\"] " + url, 3},
	} {
		_, err := Parse(test.text, func(string) ([]byte, error) { return nil, os.ErrNotExist })
		var bad *ConfigError
		if !errors.As(err, &bad) || bad.Line != test.line {
			t.Errorf("%s: Parse() = %v, want a *ConfigError at line %d", name, err, test.line)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if p, err := Load(filepath.Join(dir, "absent")); err != nil || len(p.Signers) != 0 {
		t.Errorf("Load(absent) = %v, %v, want an empty policy", p, err)
	}
	alice := newPerson(t, "alice")
	if _, err := Edit(dir, func(e *Editor) error { return e.AddSigner(Signer{Name: "alice", Cert: alice.cert()}) }); err != nil {
		t.Fatal(err)
	}
	p, err := Load(dir)
	if err != nil || len(p.Signers) != 1 || p.Signers[0].Cert.UserIDs[0] != "alice <alice@example.org>" {
		t.Fatalf("Load() = %+v, %v, want alice", p, err)
	}
	if s, ok := p.SignerOf(strings.ToLower(p.Signers[0].Cert.Fingerprint)); !ok || s.Name != "alice" {
		t.Errorf("SignerOf(fingerprint) = %v, %t, want alice", s, ok)
	}
	cert := filepath.Join(dir, CertsName, alice.cert().Digest()+".asc")
	for path, want := range map[string]os.FileMode{dir + "/" + ConfigName: 0o600, cert: 0o600, dir + "/" + CertsName: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode of %s = %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	text, _ := os.ReadFile(cert)
	text[len(text)/2] ^= 1
	os.WriteFile(cert, text, 0o600)
	var bad *ConfigError
	if _, err := Load(dir); !errors.As(err, &bad) || bad.Line != 4 || !strings.Contains(err.Error(), "altered") || !strings.Contains(err.Error(), ConfigName+":4") {
		t.Errorf("Load(altered certificate) = %v, want a *ConfigError at line 4", err)
	}
	os.Remove(cert)
	if _, err := Load(dir); !errors.As(err, &bad) {
		t.Errorf("Load(missing certificate) = %v, want a *ConfigError", err)
	}
}

func TestEditKeepsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ConfigName)
	if err := os.WriteFile(path, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Edit(dir, func(e *Editor) error {
		return errors.Join(e.RetireSigner("bob", refs.OID(strings.Repeat("1", 40))), e.AddRule(Rule{Name: "extra", Repo: "tools", Pattern: "refs/tags/*", Signers: []string{"bob"}}))
	})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(path)
	want := strings.Replace(example, "    retired-at = "+emptyTree, "\tretired-at = "+strings.Repeat("1", 40), 1) +
		"[rule \"extra\"]\n\trepo = tools\n\tref = refs/tags/*\n\tsigners = bob\n"
	if string(got) != want {
		t.Errorf("trust.conf = %s\nwant %s", got, want)
	}
	removed, err := editRemove(dir, "bob")
	if err != nil || !slices.Equal(removed, []string{"signer bob", "publisher bob", "rule bobs"}) {
		t.Errorf("Remove(bob) = %v, %v", removed, err)
	}
	p, err := Load(dir)
	if err != nil || len(p.Rules) != 4 || len(p.Rules[0].Signers) != 0 {
		t.Errorf("after Remove(bob): %v, rules %v, want four without signers", err, p.Rules)
	}
}

func editRemove(dir, name string) (removed []string, err error) {
	_, err = Edit(dir, func(e *Editor) (err error) {
		removed, err = e.Remove(name)
		return err
	})
	return removed, err
}

// TestEditFailures: whatever goes wrong, trust.conf stays as it was.
func TestEditFailures(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ConfigName)
	os.WriteFile(path, []byte(example), 0o600)
	bob, _ := keys.ParseSSHKey(testSSH)
	address := refs.Address{Publisher: keys.FromSeed([32]byte{1}).ID(), Name: "tools"}
	var exists *ExistsError
	var missing *NotFoundError
	var bad *ConfigError
	for name, test := range map[string]struct {
		change func(*Editor) error
		target any
	}{
		"signer's name taken": {func(e *Editor) error { return e.AddSigner(Signer{Name: "bob", SSH: bob}) }, &exists},
		"signer's key taken":  {func(e *Editor) error { return e.AddSigner(Signer{Name: "robert", SSH: bob}) }, &exists},
		"publisher's key":     {func(e *Editor) error { return e.AddPublisher(Publisher{Name: "a", Key: address.Publisher}) }, &exists},
		"repo's url":          {func(e *Editor) error { return e.AddRepo(Repo{Name: "t", URL: address}) }, &exists},
		"nobody to remove":    {func(e *Editor) error { _, err := e.Remove("nobody"); return err }, &missing},
		"nobody to retire":    {func(e *Editor) error { return e.RetireSigner("nobody", emptyTree) }, &missing},
		"rule for nobody": {func(e *Editor) error {
			return e.AddRule(Rule{Name: "x", Repo: "tools", Pattern: "refs/tags/x", Signers: []string{"nobody"}})
		}, &bad},
		"rule that ties": {func(e *Editor) error { return e.AddRule(Rule{Name: "x", Repo: "tools", Pattern: "refs/heads/*"}) }, &bad},
		"line end in a value": {func(e *Editor) error {
			return e.AddRule(Rule{Name: "x", Repo: "tools", Pattern: "refs/tags/x\n[rule \"y\"]"})
		}, &bad},
		"line that is another": {func(e *Editor) error {
			return e.AddRule(Rule{Name: "x", Repo: "tools", Pattern: "refs/tags/x\n\tmode = publisher"})
		}, &bad},
		"change fails by itself": {func(e *Editor) error { e.RevokeSigner("bob"); return os.ErrClosed }, nil},
	} {
		_, err := Edit(dir, test.change)
		if err == nil || test.target != nil && !errors.As(err, test.target) {
			t.Errorf("%s: Edit() = %v, want a %T", name, err, test.target)
		}
		if got, _ := os.ReadFile(path); string(got) != example {
			t.Fatalf("%s: trust.conf has changed", name)
		}
		if _, err := os.Stat(path + ".lock"); err == nil {
			t.Fatalf("%s: the lock was left", name)
		}
	}
	os.WriteFile(path+".lock", nil, 0o600)
	if _, err := Edit(dir, func(*Editor) error { return nil }); !errors.Is(err, ErrLocked) {
		t.Errorf("Edit(locked) = %v, want ErrLocked", err)
	}
	if _, err := os.Stat(path + ".lock"); err != nil {
		t.Error("Edit(locked) removed another program's lock")
	}
}

func TestFreeName(t *testing.T) {
	doc, _ := parseDocument(example)
	e := &Editor{doc: doc}
	for text, want := range map[string]string{
		"Alice Liddell <alice@example.org>": "alice", "Bob": "bob-2", "Ægir": "gir", "…": "signer", "carol@example.org": "carol",
	} {
		if got := e.FreeName("signer", text); got != want {
			t.Errorf("FreeName(%q) = %q, want %q", text, got, want)
		}
	}
}
