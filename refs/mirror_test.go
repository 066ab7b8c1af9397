package refs

import (
	"bytes"
	"strings"
	"testing"
)

func TestParseMirror(t *testing.T) {
	for text, host := range map[string]string{
		"https://example.org/":                       "example.org",
		"https://example.org/git/tools/":             "example.org",
		"http://a-1.example.org:8080/~me/x_y.z/":     "a-1.example.org",
		"http://192.0.2.1/":                          "192.0.2.1",
		"https://[2001:db8::1]/x/":                   "2001:db8::1",
		"https://[2001:db8::1]:8443/":                "2001:db8::1",
		"http://localhost:1/":                        "localhost",
		"https://" + strings.Repeat("a.", 40) + "b/": strings.Repeat("a.", 40) + "b",
	} {
		m, err := ParseMirror(text)
		if err != nil || string(m) != text || m.Host() != host {
			t.Errorf("ParseMirror(%q) = %q with host %q, %v, want host %q", text, m, m.Host(), err, host)
		}
	}
	for _, text := range []string{
		"", "https://", "https:///", "https://example.org", "ftp://example.org/", "file:///etc/", "HTTPS://example.org/",
		"https://Example.org/", "https://user@example.org/", "https://example.org/?x/", "https://example.org/#x/",
		"https://example.org//", "https://example.org/../", "https://example.org/./", "https://example.org/%2e%2e/",
		"https://example.org/.git/", "https://example.org/a b/", "https://example.org/a\n/", "https://example.org:443/",
		"http://example.org:80/", "https://example.org:0/", "https://example.org:99999/", "https://example.org:01/",
		"https://example.org:/", "http://127.1/", "http://0177.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://1.2.3.4.5/",
		"http://[::1/", "http://[127.0.0.1]/", "http://[::ffff:127.0.0.1]/", "http://[fe80::1%25lo]/", "http://[0:0::1]/",
		"https://-a.org/", "https://a-.org/", "https://a..org/", "https://ex\u00e4mple.org/", "https://example.org./",
		"https://example.org/" + strings.Repeat("a", 300) + "/",
	} {
		if m, err := ParseMirror(text); err == nil {
			t.Errorf("ParseMirror(%q) = %q, want an error", text, m)
		}
	}
}

func FuzzParseMirror(f *testing.F) {
	f.Add("https://example.org/git/")
	f.Add("http://[2001:db8::1]:80/")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMirror(text)
		if err == nil && (string(m) != text || m.Host() == "" || strings.ContainsAny(text, " \n@?#%\\")) {
			t.Errorf("ParseMirror(%q) = %q, host %q", text, m, m.Host())
		}
	})
}

// mirrored is the smallest snapshot, with mirrors.
func mirrored(t *testing.T, mirrors ...Mirror) *Snapshot {
	t.Helper()
	s := withSigners()
	s.Mirrors = mirrors
	return s
}

func TestSnapshotMirrors(t *testing.T) {
	s := mirrored(t, "https://b.example/x/", "https://a.example/")
	text, err := s.Format()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(text, []byte("mirror https://a.example/\nmirror https://b.example/x/\n")) {
		t.Errorf("Format = %q, want sorted mirrors at the end", text)
	}
	back, err := Parse(text)
	if err != nil || len(back.Mirrors) != 2 || back.Mirrors[0] != "https://a.example/" {
		t.Errorf("Parse = %+v, %v", back, err)
	}
	for _, bad := range [][]Mirror{
		{"https://a.example/", "https://a.example/"}, {"ftp://a.example/"}, {""}, make([]Mirror, MaxMirrors+1),
	} {
		if _, err := mirrored(t, bad...).Format(); err == nil {
			t.Errorf("Format with mirrors %q succeeds", bad)
		}
	}
	swapped := bytes.Replace(text, []byte("mirror https://a.example/\nmirror https://b.example/x/\n"), []byte("mirror https://b.example/x/\nmirror https://a.example/\n"), 1)
	if _, err := Parse(swapped); err == nil {
		t.Error("Parse takes mirrors that are not sorted")
	}
}
