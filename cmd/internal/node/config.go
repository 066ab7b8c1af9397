package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	format "github.com/go-git/go-git/v5/plumbing/format/config"

	"github.com/gitpeer/gitpeer/swarm"
)

// defaultListen leaves the choice of port to the system; a node behind a router
// that forwards a port sets node.listen.
const defaultListen = "0.0.0.0:0"

// A config is the node's part of the file `config`, in git-config syntax:
//
//	[node]
//	    listen = 0.0.0.0:6881     ; one UDP and TCP address for everything
//	    seed = true               ; serve what was fetched
//	[dht]
//	    bootstrap = host:port     ; may be repeated
//
// GITPEER_LISTEN and GITPEER_BOOTSTRAP (a list, separated by commas) win.
type config struct {
	Listen    string
	Bootstrap []string
	Seed      bool
}

// A ConfigError is a configuration that is not understood.
type ConfigError struct {
	Where, Reason string // a file or variable, and what is wrong there
}

func (e *ConfigError) Error() string { return e.Where + ": " + e.Reason }

// loadConfig reads the file and the environment.
func loadConfig(path string, getenv func(string) string) (*config, error) {
	c := &config{Listen: defaultListen, Seed: true}
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	parsed := format.New()
	if err := format.NewDecoder(bytes.NewReader(raw)).Decode(parsed); err != nil {
		return nil, &ConfigError{path, err.Error()}
	}
	for _, section := range parsed.Sections {
		if len(section.Subsections) > 0 {
			return nil, &ConfigError{path, fmt.Sprintf("section %q takes no subsection", section.Name)}
		}
		for _, o := range section.Options {
			if err := c.set(strings.ToLower(section.Name+"."+o.Key), o.Value); err != nil {
				return nil, &ConfigError{path, err.Error()}
			}
		}
	}
	if v := getenv("GITPEER_LISTEN"); v != "" {
		if err := c.set("node.listen", v); err != nil {
			return nil, &ConfigError{"GITPEER_LISTEN", err.Error()}
		}
	}
	if v := getenv("GITPEER_BOOTSTRAP"); v != "" {
		c.Bootstrap = nil
		for _, host := range strings.Split(v, ",") {
			if err := c.set("dht.bootstrap", strings.TrimSpace(host)); err != nil {
				return nil, &ConfigError{"GITPEER_BOOTSTRAP", err.Error()}
			}
		}
	}
	if len(c.Bootstrap) == 0 {
		c.Bootstrap = swarm.PublicBootstrap()
	}
	return c, nil
}

func (c *config) set(key, value string) error {
	switch key {
	case "node.listen":
		if _, err := netip.ParseAddrPort(value); err != nil {
			return fmt.Errorf("node.listen: %q is not ADDRESS:PORT", value)
		}
		c.Listen = value
	case "node.seed":
		switch value {
		case "true", "yes", "on", "1", "":
			c.Seed = true
		case "false", "no", "off", "0":
			c.Seed = false
		default:
			return fmt.Errorf("node.seed: %q is not true or false", value)
		}
	case "dht.bootstrap":
		host, port, ok := strings.Cut(value, ":")
		if !ok || host == "" || port == "" || strings.ContainsAny(value, " \t") {
			return fmt.Errorf("dht.bootstrap: %q is not HOST:PORT", value)
		}
		c.Bootstrap = append(c.Bootstrap, value)
	default:
		return fmt.Errorf("unknown key %q", key)
	}
	return nil
}
