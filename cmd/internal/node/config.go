package node

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/trust"
)

// defaultListen leaves the choice of port to the system; a node behind a router
// that forwards a port sets node.listen.
const defaultListen = "0.0.0.0:0"

// maxConfigBytes bounds the file.
const maxConfigBytes = 1 << 20

// A config is the file `config` of the configuration directory. Its syntax is
// that of trust.conf, a strict subset of git-config(5): an unknown section or
// key, a repeated key and a value that is not understood are errors, which name
// the line.
//
//	[node]
//	    listen = 0.0.0.0:6881        ; one UDP and TCP address for everything
//	    seed = true                  ; serve what was fetched
//	    mirrors = true               ; fetch from the web servers that publishers name, too
//	    fresh = 0                    ; a fetch relies on a lookup that is so young: 0 to 60 s, such as 5s
//	    portmap = true               ; have the router forward the port (NAT-PMP, UPnP)
//	    lsd = true                   ; ask the local network for peers (BEP 14)
//	[dht]
//	    bootstrap = host:port        ; may be repeated
//	[limit]                          ; all 0, no limit, unless said
//	    upload = 500k                ; bytes a second, of data; k, m, g are 1024-fold
//	    download = 4m
//	    connections = 400            ; with peers, in all
//	    per-torrent = 50             ; default 50
//	    half-open = 200              ; being made, default 200
//	[seed]                           ; when to stop serving what others published
//	    ratio = 2.5                  ; once 2.5 times the bytes of its packs were sent
//	    size = 20g                   ; the newest repositories, up to so much in all
//	    age = 90d                    ; once nothing new came for so long; h, d, w
//	[repo "tools"]
//	    url = gitpeer://gp1…/tools
//	    seed = always                ; always: outside the policy; never: not at all
//	    mirror = https://host/path/  ; a web server that has its files; may be repeated
//
// GITPEER_LISTEN and GITPEER_BOOTSTRAP (a list, separated by commas) win.
type config struct {
	Listen    string
	Bootstrap []string
	Seed      bool
	Mirrors   bool
	LSD       bool
	PortMap   bool
	Fresh     time.Duration // how old a lookup may be that a fetch relies on
	Limits    limits
	Policy    seedPolicy
	Repos     map[refs.Address]*repoConfig
}

// limits are what the transfer may take. Zero is no limit.
type limits struct {
	Upload, Download int64 // bytes a second
	Connections      int   // with peers, in all
	PerTorrent       int
	HalfOpen         int
}

// A repoConfig is what a [repo] section says of one repository.
type repoConfig struct {
	Seed    seedChoice
	Mirrors []refs.Mirror
}

// A ConfigError is a configuration that is not understood.
type ConfigError struct {
	Where  string // a file or variable
	Line   int    // from 1, 0 if it is about the whole
	Reason string // what is wrong there
}

func (e *ConfigError) Error() string {
	if e.Line == 0 {
		return e.Where + ": " + e.Reason
	}
	return fmt.Sprintf("%s:%d: %s", e.Where, e.Line, e.Reason)
}

// loadConfig reads the file and the environment.
func loadConfig(path string, getenv func(string) string) (*config, error) {
	raw, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(raw)
	var bad *ConfigError
	if errors.As(err, &bad) {
		bad.Where = path
	}
	if err != nil {
		return nil, err
	}
	if v := getenv("GITPEER_LISTEN"); v != "" {
		if err := c.setNode("listen", v); err != nil {
			return nil, &ConfigError{Where: "GITPEER_LISTEN", Reason: err.Error()}
		}
	}
	if v := getenv("GITPEER_BOOTSTRAP"); v != "" {
		c.Bootstrap = nil
		for _, host := range strings.Split(v, ",") {
			if err := c.setDHT("bootstrap", strings.TrimSpace(host)); err != nil {
				return nil, &ConfigError{Where: "GITPEER_BOOTSTRAP", Reason: err.Error()}
			}
		}
	}
	if len(c.Bootstrap) == 0 {
		c.Bootstrap = swarm.PublicBootstrap()
	}
	return c, nil
}

func readConfig(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", &ConfigError{Where: path, Reason: "not a regular file"}
	case info.Size() > maxConfigBytes:
		return "", &ConfigError{Where: path, Reason: fmt.Sprintf("larger than %d KiB", maxConfigBytes>>10)}
	}
	raw, err := os.ReadFile(path)
	return string(raw), err
}

// parseConfig reads the text of a configuration file. The error is a
// *ConfigError without a file.
func parseConfig(text string) (*config, error) {
	c := &config{Listen: defaultListen, Seed: true, Mirrors: true, LSD: true, PortMap: true, Repos: map[refs.Address]*repoConfig{}}
	settings, err := trust.ParseSettings(text)
	var bad *trust.ConfigError
	if errors.As(err, &bad) {
		return nil, &ConfigError{Line: bad.Line, Reason: bad.Reason}
	}
	if err != nil {
		return nil, err
	}
	r := configReader{config: c, seen: map[string]bool{}, repos: map[string]*repoConfig{}}
	for _, s := range settings {
		if err := r.set(s); err != nil {
			return nil, &ConfigError{Line: s.Line, Reason: err.Error()}
		}
	}
	return c, nil
}

// A configReader fills a config, one setting after the other.
type configReader struct {
	config *config
	seen   map[string]bool
	repos  map[string]*repoConfig // by the name of their section
}

func (r *configReader) set(s trust.Setting) error {
	full := s.Section + "." + s.Key
	if s.Name != "" {
		full = s.Section + "." + s.Name + "." + s.Key
	}
	if repeats := full == "dht.bootstrap" || s.Section == "repo" && s.Key == "mirror"; !repeats {
		if r.seen[full] {
			return fmt.Errorf("%s is there twice", full)
		}
		r.seen[full] = true
	}
	if (s.Name != "") != (s.Section == "repo") {
		if s.Section == "repo" {
			return errors.New(`want [repo "NAME"]`)
		}
		return fmt.Errorf("section %q takes no subsection", s.Section)
	}
	var err error
	switch s.Section {
	case "node":
		err = r.config.setNode(s.Key, s.Value)
	case "dht":
		err = r.config.setDHT(s.Key, s.Value)
	case "limit":
		err = r.config.Limits.set(s.Key, s.Value)
	case "seed":
		err = r.config.Policy.set(s.Key, s.Value)
	case "repo":
		err = r.setRepo(s)
	default:
		err = errUnknownKey
	}
	if errors.Is(err, errUnknownKey) {
		return fmt.Errorf("unknown key %q", full)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", full, err)
	}
	return nil
}

// errUnknownKey is said of a key that its section does not have.
var errUnknownKey = errors.New("unknown key")

func (c *config) setNode(key, value string) (err error) {
	switch key {
	case "listen":
		if _, err := netip.ParseAddrPort(value); err != nil {
			return fmt.Errorf("%q is not ADDRESS:PORT", value)
		}
		c.Listen = value
	case "seed":
		c.Seed, err = parseBool(value)
	case "lsd":
		c.LSD, err = parseBool(value)
	case "fresh":
		c.Fresh, err = parseFresh(value)
	case "portmap":
		c.PortMap, err = parseBool(value)
	case "mirrors":
		c.Mirrors, err = parseBool(value)
	default:
		return errUnknownKey
	}
	return err
}

func (c *config) setDHT(key, value string) error {
	if key != "bootstrap" {
		return errUnknownKey
	}
	host, port, ok := strings.Cut(value, ":")
	if !ok || host == "" || port == "" || strings.ContainsAny(value, " \t") {
		return fmt.Errorf("%q is not HOST:PORT", value)
	}
	c.Bootstrap = append(c.Bootstrap, value)
	return nil
}

// Bounds of the limits: below them nothing works, above them they limit nothing.
const (
	minRate        = 4 << 10
	maxBytes       = 1 << 60
	maxConnections = 1 << 16
)

func (l *limits) set(key, value string) (err error) {
	switch key {
	case "upload":
		l.Upload, err = parseRate(value)
	case "download":
		l.Download, err = parseRate(value)
	case "connections":
		l.Connections, err = parseCount(value)
	case "per-torrent":
		l.PerTorrent, err = parseCount(value)
	case "half-open":
		l.HalfOpen, err = parseCount(value)
	default:
		return errUnknownKey
	}
	return err
}

func (r *configReader) setRepo(s trust.Setting) error {
	if s.Key == "url" {
		a, err := refs.ParseAddress(s.Value)
		if err != nil {
			return err
		}
		if r.config.Repos[a] != nil {
			return errors.New("another section is about this repository")
		}
		r.repos[s.Name] = &repoConfig{}
		r.config.Repos[a] = r.repos[s.Name]
		return nil
	}
	c := r.repos[s.Name]
	if c == nil {
		return errors.New("the section must begin with its url")
	}
	if s.Key == "mirror" {
		return c.addMirror(s.Value)
	}
	if s.Key != "seed" {
		return errUnknownKey
	}
	switch choice := seedChoice(s.Value); choice {
	case seedAlways, seedNever:
		c.Seed = choice
		return nil
	}
	return fmt.Errorf("%q is neither always nor never", s.Value)
}

func (c *repoConfig) addMirror(value string) error {
	m, err := refs.ParseMirror(value)
	switch {
	case err != nil:
		return err
	case slices.Contains(c.Mirrors, m):
		return fmt.Errorf("%s is there twice", m)
	case len(c.Mirrors) == refs.MaxMirrors:
		return fmt.Errorf("more than %d mirrors", refs.MaxMirrors)
	}
	c.Mirrors = append(c.Mirrors, m)
	return nil
}

// repo is what the file says of a repository; nothing, if it is not in there.
func (c *config) repo(a refs.Address) repoConfig {
	if r := c.Repos[a]; r != nil {
		return *r
	}
	return repoConfig{}
}

// parseBool takes git's words for true and false.
// parseFresh reads a number of seconds, such as 5s; 0 is none.
func parseFresh(value string) (time.Duration, error) {
	if value == "0" {
		return 0, nil
	}
	digits, ok := strings.CutSuffix(value, "s")
	n, err := strconv.ParseUint(digits, 10, 8)
	if !ok || err != nil || n > uint64(maxFresh/time.Second) {
		return 0, fmt.Errorf("%q is not a time from 0 to %d s, such as 5s", value, maxFresh/time.Second)
	}
	return time.Duration(n) * time.Second, nil
}

func parseBool(value string) (bool, error) {
	switch value {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is not true or false", value)
}

// parseBytes reads a number of bytes as git-config does: digits, then perhaps
// k, m or g, each 1024 times the one before.
func parseBytes(value string) (int64, error) {
	digits, shift := value, 0
	if value != "" {
		if i := strings.IndexByte("kmg", value[len(value)-1]|0x20); i >= 0 {
			digits, shift = value[:len(value)-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > maxBytes>>shift {
		return 0, fmt.Errorf("%q is not a number of bytes, such as 512k, 20m or 1g", value)
	}
	return int64(n << shift), nil
}

// parseRate is parseBytes of bytes a second.
func parseRate(value string) (int64, error) {
	n, err := parseBytes(value)
	if err == nil && n != 0 && n < minRate {
		return 0, fmt.Errorf("%q is less than %dk a second; 0 is no limit", value, minRate>>10)
	}
	return n, err
}

func parseCount(value string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil || n > maxConnections {
		return 0, fmt.Errorf("%q is not a number up to %d", value, maxConnections)
	}
	return int(n), nil
}
