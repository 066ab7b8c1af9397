package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

const someURL = "gitpeer://gp1zhxrk25nxyutgh2n2hctlvq2ta4jfnfna2p35hgs077kwqq66uhqkejg44/tools"

func noEnv(string) string { return "" }

func TestConfigErrors(t *testing.T) {
	for text, want := range map[string]string{
		"[node]\n\tlisten = here\n":                                    "2: node.listen",
		"[node]\n\tcolour = red\n":                                     `2: unknown key "node.colour"`,
		"[node]\n\n\tseed = perhaps\n":                                 "3: node.seed",
		"[node]\n\tseed = yes\n\tseed = no\n":                          "3: node.seed is there twice",
		"[dht]\n\tbootstrap = router\n":                                "2: dht.bootstrap",
		"[node \"x\"]\n\tseed = true\n":                                "2: section",
		"[node\n":                                                      "1: want [section]",
		"seed = true\n":                                                "1: a key before",
		"[include]\n\tpath = /etc/passwd\n":                            "2: unknown key",
		"[limit]\n\tupload = 1kk\n":                                    "2: limit.upload",
		"[limit]\n\tupload = 100\n":                                    "less than 4k",
		"[limit]\n\tdownload = 9999999999g\n":                          "2: limit.download",
		"[limit]\n\tconnections = -1\n":                                "2: limit.connections",
		"[limit]\n\tper-torrent = 70000\n":                             "up to 65536",
		"[seed]\n\tratio = nan\n":                                      "2: seed.ratio",
		"[seed]\n\tratio = -1\n":                                       "2: seed.ratio",
		"[seed]\n\tratio = 1e9\n":                                      "2: seed.ratio",
		"[seed]\n\tage = 30\n":                                         "2: seed.age",
		"[seed]\n\tage = 99999w\n":                                     "2: seed.age",
		"[node]\n\tfresh = 61s\n":                                      "2: node.fresh",
		"[node]\n\tfresh = 5\n":                                        "2: node.fresh",
		"[seed]\n\tsize = much\n":                                      "2: seed.size",
		"[repo]\n\turl = " + someURL + "\n":                            "2: want [repo",
		"[repo \"a\"]\n\tseed = never\n":                               "2: repo.a.seed: the section must begin",
		"[repo \"a\"]\n\turl = gitpeer://alice/x\n":                    "2: repo.a.url",
		"[repo \"a\"]\n\turl = " + someURL + "\n\tmirror = ftp://x/\n": "3: repo.a.mirror",
		"[repo \"a\"]\n\turl = " + someURL + "\n\tx = y":               `3: unknown key "repo.a.x"`,
		"[repo \"a\"]\n\turl = " + someURL + "\n\tseed = perhaps\n":    "neither always nor never",
		"[repo \"a\"]\n\turl = " + someURL + "\n[repo \"b\"]\n\turl = " + someURL + "\n": "4: repo.b.url: another section",
	} {
		path := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var bad *ConfigError
		if _, err := loadConfig(path, noEnv); !errors.As(err, &bad) || bad.Where != path || !strings.Contains(err.Error(), want) {
			t.Errorf("config %q: %v, want an error in the file about %q", text, err, want)
		}
	}
	var bad *ConfigError
	if _, err := loadConfig(t.TempDir(), noEnv); !errors.As(err, &bad) {
		t.Errorf("a folder as config: %v", err)
	}
	if _, err := loadConfig("", func(k string) string { return map[string]string{"GITPEER_LISTEN": "x"}[k] }); !errors.As(err, &bad) || bad.Where != "GITPEER_LISTEN" {
		t.Errorf("a bad variable: %v", err)
	}
}

func TestConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	text := "# mine\n[node]\n\tlisten = 192.0.2.1:7\n\tseed = no\n\tmirrors = off\n\tlsd = false\n\tportmap = 0\n\tfresh = 5s\n[dht]\n\tbootstrap = a:1\n\tbootstrap = b:2 ; two\n" +
		"[limit]\n\tupload = 500k\n\tdownload = 2M\n\tconnections = 100\n\tper-torrent = 20\n\thalf-open = 10\n" +
		"[seed]\n\tratio = 2.5\n\tsize = 20g\n\tage = 2w\n[repo \"tools\"]\n\turl = " + someURL + "\n\tseed = always\n\tmirror = https://a.example/\n\tmirror = http://10.0.0.1:81/x/\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := loadConfig(path, func(k string) string { return map[string]string{"GITPEER_LISTEN": "127.0.0.1:0"}[k] })
	if err != nil {
		t.Fatal(err)
	}
	a, _ := refs.ParseAddress(someURL)
	want := &config{
		Listen: "127.0.0.1:0", Bootstrap: []string{"a:1", "b:2"},
		Mirrors: false, Fresh: 5 * time.Second,
		Limits: limits{Upload: 500 << 10, Download: 2 << 20, Connections: 100, PerTorrent: 20, HalfOpen: 10},
		Policy: seedPolicy{Ratio: 2.5, Size: 20 << 30, Age: 14 * 24 * time.Hour},
		Repos:  map[refs.Address]*repoConfig{a: {Seed: seedAlways, Mirrors: []refs.Mirror{"https://a.example/", "http://10.0.0.1:81/x/"}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("loadConfig = %+v, want %+v", got, want)
	}
	if c, err := loadConfig(filepath.Join(t.TempDir(), "none"), noEnv); err != nil || c.Listen == "" || len(c.Bootstrap) == 0 || !c.Seed {
		t.Errorf("no file: %+v, %v", c, err)
	}
}

// FuzzConfig: whatever is understood is within bounds, and means the same with
// the lines' ends and comments changed.
func FuzzConfig(f *testing.F) {
	f.Add("[node]\n\tlisten = 127.0.0.1:0\n")
	f.Add("[dht]\nbootstrap=a:1\n[limit]\nupload=5k\n")
	f.Add("[seed]\nratio=1.5\nage=3d\nsize=1g\n[repo \"a\"]\nurl=" + someURL + "\nseed=never\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseConfig(text)
		if err != nil {
			var bad *ConfigError
			if !errors.As(err, &bad) || bad.Line < 0 || bad.Line > strings.Count(text, "\n")+1 {
				t.Errorf("config %q: %v", text, err)
			}
			return
		}
		l := c.Limits
		if c.Listen == "" || l.Upload < 0 || l.Upload > maxBytes || l.Connections > maxConnections || !(c.Policy.Ratio >= 0 && c.Policy.Ratio <= maxRatio) || c.Policy.Age < 0 || c.Policy.Size < 0 {
			t.Errorf("config %q is out of bounds: %+v", text, c)
		}
		again, err := parseConfig(fmt.Sprintf("# a comment\n%s\n; another", text))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("config %q with comments: %+v, %v, want %+v", text, again, err, c)
		}
	})
}
