package node

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/gpg"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// A Home is where one user's gitpeer lives. Everything is under GITPEER_HOME
// if that is set, and in the XDG folders otherwise.
type Home struct {
	Config string // config, trust.conf, certs/
	Data   string // lock, keys/, repos/, the node's log and routing table
	socket string
}

// maxSocketPath is the longest path that every system takes for a unix socket
// (sun_path is 104 bytes on the BSDs, 108 on Linux).
const maxSocketPath = 100

// DefaultHome reads the environment: GITPEER_HOME, then XDG_CONFIG_HOME and
// XDG_DATA_HOME, then the folders that the XDG specification names.
func DefaultHome(getenv func(string) string) (Home, error) {
	if dir := getenv("GITPEER_HOME"); dir != "" {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return Home{}, fmt.Errorf("GITPEER_HOME: %w", err)
		}
		return newHome(dir, dir, getenv), nil
	}
	user := getenv("HOME")
	config, data := getenv("XDG_CONFIG_HOME"), getenv("XDG_DATA_HOME")
	if user == "" && (config == "" || data == "") {
		return Home{}, errors.New("neither GITPEER_HOME nor HOME is set")
	}
	if !filepath.IsAbs(config) { // the specification says to ignore relative ones
		config = filepath.Join(user, ".config")
	}
	if !filepath.IsAbs(data) {
		data = filepath.Join(user, ".local", "share")
	}
	return newHome(filepath.Join(config, "gitpeer"), filepath.Join(data, "gitpeer"), getenv), nil
}

// GnupgHome is the GNUPGHOME of whoever calls the node, absolute, or "" if that
// is not set.
func GnupgHome(getenv func(string) string) (string, error) {
	dir := getenv("GNUPGHOME")
	if dir == "" {
		return "", nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("GNUPGHOME: %w", err)
	}
	return dir, nil
}

// keyring is the keyring of whoever calls the node, whose GNUPGHOME is given. That
// of the node's own environment says nothing: it is of whoever started the node.
func keyring(gnupgHome string) (gpg.Keyring, error) {
	if gnupgHome != "" && !filepath.IsAbs(gnupgHome) {
		return gpg.Keyring{}, errorf(trust.Usage, "", "gnupg_home %q is not absolute", gnupgHome)
	}
	own := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "GNUPGHOME=") })
	return gpg.Keyring{Home: gnupgHome, Environ: own}, nil
}

func newHome(config, data string, getenv func(string) string) Home {
	h := Home{Config: config, Data: data, socket: filepath.Join(data, "socket")}
	if len(h.socket) > maxSocketPath {
		run := getenv("XDG_RUNTIME_DIR")
		if run == "" {
			run = filepath.Join(os.TempDir(), "gitpeer-"+strconv.Itoa(os.Getuid()))
		}
		sum := sha256.Sum256([]byte(data))
		h.socket = filepath.Join(run, "gitpeer-"+hex.EncodeToString(sum[:8]))
	}
	return h
}

// Socket is the path of the node's unix socket.
func (h Home) Socket() string { return h.socket }

// KeyFile is the path of the user's publisher key.
func (h Home) KeyFile() string { return filepath.Join(h.Data, "keys", "id_ed25519") }

// LogFile is where a node that was started on demand writes its log.
func (h Home) LogFile() string { return filepath.Join(h.Data, "log") }

// Mirror is the path of the mirror of a repository.
func (h Home) Mirror(a refs.Address) string {
	return filepath.Join(h.Data, "repos", a.Publisher.String(), string(a.Name)+".git")
}

// Cache is the path of what `gitpeer trust check` remembers.
func (h Home) Cache() string { return filepath.Join(h.Data, "cache") }

func (h Home) lockFile() string   { return filepath.Join(h.Data, "lock") }
func (h Home) stateDir() string   { return filepath.Join(h.Data, "node") }
func (h Home) incoming() string   { return filepath.Join(h.Data, "node", "incoming") }
func (h Home) reposDir() string   { return filepath.Join(h.Data, "repos") }
func (h Home) configFile() string { return filepath.Join(h.Config, "config") }
