package trust

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"github.com/gitpeer/gitpeer/refs"
)

// secret is the armored secret key of a person.
func (p *person) secret() []byte {
	p.t.Helper()
	var b strings.Builder
	w, err := armor.Encode(&b, "PGP PRIVATE KEY BLOCK", nil)
	if err == nil {
		err = errors.Join(p.entity.SerializePrivateWithoutSigning(w, nil), w.Close())
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return []byte(b.String())
}

// TestBadCertificates: what is wrong in certs/ is said with the file and the line
// of trust.conf that names it, and nothing is loaded.
func TestBadCertificates(t *testing.T) {
	alice := newPerson(t, "alice")
	good := alice.cert().Armored()
	for name, test := range map[string]struct {
		content []byte
		change  func(path string)
		want    string
	}{
		"missing":    {good, func(path string) { os.Remove(path) }, "no such file"},
		"altered":    {good, func(path string) { os.WriteFile(path, append(good, '\n'), 0o600) }, "has been altered"},
		"emptied":    {good, func(path string) { os.Truncate(path, 0) }, "has been altered"},
		"swapped":    {good, func(path string) { os.WriteFile(path, newPerson(t, "mallory").cert().Armored(), 0o600) }, "has been altered"},
		"folder":     {good, func(path string) { os.Remove(path); os.Mkdir(path, 0o700) }, "not a regular file"},
		"huge":       {good, func(path string) { os.Truncate(path, 1<<30) }, "larger than"},
		"secret key": {alice.secret(), nil, "secret key"},
		"nonsense":   {[]byte("nonsense\n"), nil, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := fmt.Sprintf("%x.asc", sha256.Sum256(test.content))
			conf := "[gitpeer]\n\tversion = 1\n# a remark\n[signer \"alice\"]\n\tcert = " + file + "\n"
			os.Mkdir(filepath.Join(dir, CertsName), 0o700)
			path := filepath.Join(dir, CertsName, file)
			if err := errors.Join(os.WriteFile(path, test.content, 0o600), os.WriteFile(filepath.Join(dir, ConfigName), []byte(conf), 0o600)); err != nil {
				t.Fatal(err)
			}
			if test.change != nil {
				test.change(path)
			}
			p, err := Load(dir)
			var bad *ConfigError
			if p != nil || !errors.As(err, &bad) || bad.Line != 5 || bad.File != filepath.Join(dir, ConfigName) {
				t.Fatalf("Load() = %v, %v, want a *ConfigError at line 5 of %s", p, err, ConfigName)
			}
			for _, part := range []string{test.want, file, ConfigName + ":5"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("Load() = %v, want %q in it", err, part)
				}
			}
			// Nor does an edit make it worse.
			if _, err := Edit(dir, func(e *Editor) error { return e.AddPublisher(Publisher{Name: "p"}) }); !errors.As(err, &bad) {
				t.Errorf("Edit() = %v, want a *ConfigError", err)
			}
			if after, _ := os.ReadFile(filepath.Join(dir, ConfigName)); string(after) != conf {
				t.Errorf("%s was changed to %q", ConfigName, after)
			}
		})
	}
}

// TestAmbiguousCertificates: one key may not be two people's.
func TestAmbiguousCertificates(t *testing.T) {
	w := newWorld(t)
	alice := newPerson(t, "alice")
	w.signer(alice)
	fmt.Fprintf(&w.conf, "[signer %q]\n\tcert = %s.asc\n", "again", alice.cert().Digest())
	_, err := Parse(w.conf.String(), func(name string) ([]byte, error) { return w.certs[name], nil })
	var bad *ConfigError
	if !errors.As(err, &bad) || bad.Line != 5 || !strings.Contains(err.Error(), "have the same key "+alice.cert().Fingerprint) {
		t.Errorf("Parse(one certificate twice) = %v, want a *ConfigError at line 5", err)
	}
}

// TestLargeObjects: a signature of 16 MB and an object of 1 GB are refused by
// their size, and named, wherever in a history they are.
func TestLargeObjects(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	payload := w.payload(day(2), tip)
	signature := pgpBegin + "\n\n" + strings.Repeat(strings.Repeat("A", 64)+"\n", 16<<20/65) + pgpEnd + "\n"
	heavy := w.add(KindCommit, withSignature(payload, "gpgsig", signature))
	small := w.add(KindCommit, withSignature(payload, "gpgsig", pgpBegin+"\n\n"+strings.Repeat(strings.Repeat("A", 64)+"\n", 300)+pgpEnd+"\n"))
	tag := fmt.Sprintf("object %s\ntype commit\ntag v1\ntagger A <a@b> 1 +0000\n\nx\n%s", tip, signature)
	heavyTag := refs.Ref{Name: "refs/tags/v1", OID: w.add(KindTag, tag), Peeled: tip}
	giant := refs.OID(strings.Repeat("1", 40))
	w.objects.objects[giant] = Object{OID: giant, Kind: KindCommit, Size: 1 << 30}
	for name, test := range map[string]struct {
		list []refs.Ref
		ref  string
		want Code
		why  []string
	}{
		"signature of 16 MB":     {[]refs.Ref{branch("main", heavy)}, "main", Malformed, []string{string(heavy), "bytes, and a commit or tag at most 1048576"}},
		"signature of 20 KB":     {[]refs.Ref{branch("main", small)}, "main", BadSignature, []string{string(small), "larger than 16 KiB"}},
		"in the middle":          {[]refs.Ref{branch("main", w.commit(alice, day(3), heavy))}, "main", Malformed, []string{string(heavy)}},
		"tag of 16 MB":           {[]refs.Ref{branch("main", tip), heavyTag}, "v1", Malformed, []string{string(heavyTag.OID)}},
		"object of 1 GB":         {[]refs.Ref{branch("main", giant)}, "main", Malformed, []string{string(giant), "it has 1073741824 bytes"}},
		"object of 1 GB, deeper": {[]refs.Ref{branch("main", w.commit(alice, day(3), giant))}, "main", Malformed, []string{string(giant), "it has 1073741824 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := w.want(p, pins, w.publish(test.list...), test.ref, test.want)
			for _, part := range test.why {
				if !strings.Contains(v.Why, part) {
					t.Errorf("why = %q, want %q in it", v.Why, part)
				}
			}
		})
	}
}
