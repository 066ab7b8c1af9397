package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gitpeer/gitpeer/keys/durable"
	"github.com/gitpeer/gitpeer/refs"
)

// A Cache remembers what Examine authenticated (TRUST.md §2.5): a folder of one
// file for each rule, named by the digest of all that could change a verdict
// under it. What changes the policy so changes the file, and what is remembered
// of one repository holds in each that has the same commits.
//
//	gitpeer-cache v1
//	rule <digest>
//	tip <id> <latest signature time up to it, Unix seconds>
//	sum <SHA-256 of the lines before>
//
// It only spares work: a file that is missing, damaged or not the user's own is
// as good as empty, and is written anew. It is for one goroutine.
type Cache struct {
	dir   string
	notes []string
}

// Bounds of a cache.
const (
	maxCacheFile  = 128 << 10 // bytes: maxAuthenticated tips of SHA-256, and as much again
	maxCacheFiles = 200       // the oldest are removed
)

const cacheHeader = "gitpeer-cache v1"

// OpenCache returns the cache in a folder, which need not exist.
func OpenCache(dir string) *Cache { return &Cache{dir: dir} }

// Notes says in sentences what of the cache could not be used, and why.
func (c *Cache) Notes() []string { return c.notes }

func (c *Cache) path(rule refs.Digest) string { return filepath.Join(c.dir, rule.String()) }

// Known returns what was authenticated under a rule.
func (c *Cache) Known(rule refs.Digest) []Authenticated {
	tips, err := c.read(rule)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.notes = append(c.notes, fmt.Sprintf("the cache %s is not used, and everything is checked again: %v", c.path(rule), err))
	}
	return tips
}

func (c *Cache) read(rule refs.Digest) ([]Authenticated, error) {
	if err := ownFile(c.dir); err != nil {
		return nil, err
	}
	if err := ownFile(c.path(rule)); err != nil {
		return nil, err
	}
	text, err := readBounded(c.path(rule), maxCacheFile)
	if err != nil {
		return nil, err
	}
	return parseCache(rule, text)
}

// Keep replaces what is remembered for a rule.
func (c *Cache) Keep(rule refs.Digest, tips []Authenticated) {
	if err := c.write(rule, tips); err != nil {
		c.notes = append(c.notes, fmt.Sprintf("the cache %s cannot be written, so the next check takes as long: %v", c.path(rule), err))
	}
}

func (c *Cache) write(rule refs.Digest, tips []Authenticated) error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	if err := ownFile(c.dir); err != nil {
		return err
	}
	if err := durable.Replace(c.path(rule), formatCache(rule, tips)); err != nil {
		return err
	}
	return c.prune()
}

// prune removes the files that were written longest ago.
func (c *Cache) prune() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil || len(entries) <= maxCacheFiles {
		return err
	}
	written := func(e fs.DirEntry) int64 {
		if info, err := e.Info(); err == nil {
			return info.ModTime().UnixNano()
		}
		return 0
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return int(max(-1, min(1, written(a)-written(b)))) })
	for _, e := range entries[:len(entries)-maxCacheFiles] {
		err = errors.Join(err, os.Remove(filepath.Join(c.dir, e.Name())))
	}
	return err
}

// ownFile refuses what others can write to.
func ownFile(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a symbolic link", path)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others can write to %s (mode %o)", path, info.Mode().Perm())
	case !isOwn(info):
		return fmt.Errorf("%s belongs to another user", path)
	}
	return nil
}

// formatCache is the text of a cache file; of more than maxAuthenticated tips it
// keeps the first.
func formatCache(rule refs.Digest, tips []Authenticated) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nrule %s\n", cacheHeader, rule)
	for _, a := range tips[:min(len(tips), maxAuthenticated)] {
		fmt.Fprintf(&b, "tip %s %d\n", a.OID, a.Mark)
	}
	sum := sha256.Sum256([]byte(b.String()))
	fmt.Fprintf(&b, "sum %x\n", sum)
	return []byte(b.String())
}

// parseCache is the inverse of formatCache, and accepts nothing that it would
// write differently.
func parseCache(rule refs.Digest, text []byte) ([]Authenticated, error) {
	const sumLine = len("sum \n") + 2*sha256.Size
	if len(text) < sumLine {
		return nil, malformed("it is cut short")
	}
	body := text[:len(text)-sumLine]
	if sum := sha256.Sum256(body); string(text[len(body):]) != "sum "+hex.EncodeToString(sum[:])+"\n" {
		return nil, malformed("it is damaged: its sum does not match")
	}
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	if len(lines) < 2 || lines[0] != cacheHeader || lines[1] != "rule "+rule.String() {
		return nil, malformed("it is not one of version 1 for this rule")
	}
	var tips []Authenticated
	for _, line := range lines[2:] {
		fields := strings.Split(line, " ")
		if len(fields) != 3 || fields[0] != "tip" {
			return nil, malformed("%q is not a tip", shorten(line))
		}
		oid, err := anyOID(fields[1])
		if err != nil {
			return nil, err
		}
		mark, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, err
		}
		tips = append(tips, Authenticated{Rule: rule, OID: oid, Mark: mark})
	}
	if string(formatCache(rule, tips)) != string(text) {
		return nil, malformed("it is not in canonical form")
	}
	return tips, nil
}
