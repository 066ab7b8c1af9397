package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/keys/durable"
	"github.com/gitpeer/gitpeer/refs"
)

// fetch does a batch of "fetch" lines: it brings the objects into git's
// repository, by links if git wants every branch, and answers.
func (h *helper) fetch(ctx context.Context) error {
	wants := h.wants
	h.wants = nil
	if err := h.verified(ctx, anyones); err != nil {
		return err
	}
	if h.gitDir == "" || h.state.Mirror == "" {
		return errors.New("git wants objects that are not there, or has no place for them")
	}
	mirror := gitcmd.Repo{Dir: h.state.Mirror}
	work, err := h.repository(ctx)
	if err != nil {
		return err
	}
	if err := h.sameFormat(work); err != nil {
		return err
	}
	var oids []refs.OID
	for _, want := range wants {
		oids = append(oids, want.oid)
	}
	packed, err := mirror.Packed()
	if err != nil {
		return err
	}
	if !packed || !h.everyBranch(oids) {
		if err := h.copyWanted(ctx, mirror, work, oids); err != nil {
			return err
		}
		return h.say("")
	}
	keep, err := link(filepath.Join(mirror.Dir, "objects", "pack"), filepath.Join(work.Objects, "pack"))
	if err != nil {
		return err
	}
	h.got = append(h.got, oids...)
	connected := h.options.connectivity && h.listed(oids)
	if connected && keep != "" {
		if keep, err = vouch(ctx, work, keep, oids); err != nil {
			return err
		}
	}
	if keep != "" {
		h.say("lock " + keep)
	}
	if connected {
		// The node found everything that the listed refs reach in these very
		// packs before it accepted them.
		h.say("connectivity-ok")
	}
	return h.say("")
}

// maxVouched bounds the bytes of the tips that vouch copies.
const maxVouched = 16 << 20

// vouch makes "connectivity-ok" count where there are several packs: git takes
// it for the tips that are in the one pack that is locked, and walks from the
// others through the whole history, which takes as long as half a clone. So the
// tips, commits and tags, get a small pack of their own, and that one is locked
// instead: its .keep file is returned.
func vouch(ctx context.Context, work *gitcmd.Work, keep string, tips []refs.OID) (string, error) {
	dir := filepath.Dir(keep)
	packs, _, err := packsIn(dir)
	if err != nil || len(packs) == 1 {
		return keep, err
	}
	list, err := work.Describe(ctx, tips)
	if err != nil {
		return "", err
	}
	var bytes int64
	for _, tip := range list {
		if bytes += tip.Size; tip.Kind != "commit" && tip.Kind != "tag" || bytes > maxVouched {
			return keep, nil
		}
	}
	hash, err := work.Repack(ctx, tips, filepath.Join(dir, "pack"))
	if err != nil {
		return "", err
	}
	small := filepath.Join(dir, "pack-"+hash+".keep")
	if err := writeKeep(small); err != nil {
		return "", err
	}
	return small, os.Remove(keep)
}

// writeKeep protects a pack until git has refs to what is in it.
func writeKeep(name string) error { return os.WriteFile(name, []byte("gitpeer\n"), 0o600) }

// everyBranch reports whether the objects, with those of earlier batches, are
// all the branches that there are.
func (h *helper) everyBranch(oids []refs.OID) bool {
	wanted := make(map[refs.OID]bool)
	for _, oid := range append(oids, h.got...) {
		wanted[oid] = true
	}
	for _, ref := range h.state.Refs {
		if ref.Name.IsBranch() && !wanted[ref.OID] {
			return false
		}
	}
	return true
}

// listed reports whether all the objects were listed as refs.
func (h *helper) listed(oids []refs.OID) bool {
	known := make(map[refs.OID]bool)
	for _, ref := range h.state.Refs {
		known[ref.OID] = true
	}
	for _, oid := range oids {
		if !known[oid] {
			return false
		}
	}
	return true
}

// copyWanted brings what is wanted and not there yet, and no more.
func (h *helper) copyWanted(ctx context.Context, mirror gitcmd.Repo, work *gitcmd.Work, oids []refs.OID) error {
	missing, err := work.Missing(ctx, oids)
	if err != nil || len(missing) == 0 {
		return err
	}
	if absent, err := mirror.Missing(ctx, missing); err != nil || len(absent) > 0 {
		return errors.Join(err, fmt.Errorf("git wants %d objects that the repository does not list", len(absent)))
	}
	if err := mirror.CopyPack(ctx, missing, h.got, work.Repo); err != nil {
		return err
	}
	h.got = append(h.got, missing...)
	return nil
}

// suffixes are the files of a pack, in the order in which they may appear: git
// takes a pack for complete when its index is there.
var suffixes = [...]string{".pack", ".rev", ".idx"}

// linkAttempts is how often a mirror may be repacked while it is being linked.
const linkAttempts = 3

// link gives folder to all packs of folder from, and returns the .keep file
// that protects the largest of them, if a new one was made. On failure, what
// was linked is taken away again.
func link(from, to string) (keep string, err error) {
	if err := os.MkdirAll(to, 0o777); err != nil {
		return "", err
	}
	for range linkAttempts {
		if keep, err = linkOnce(from, to); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return "", fmt.Errorf("taking over the packs of the mirror: %w", err)
	}
	return keep, nil
}

func linkOnce(from, to string) (keep string, err error) {
	packs, largest, err := packsIn(from)
	if err != nil {
		return "", err
	}
	var made []string
	defer func() {
		if err != nil {
			for i := len(made) - 1; i >= 0; i-- { // indexes first
				os.Remove(made[i])
			}
		}
	}()
	for _, pack := range packs {
		if _, err := os.Lstat(filepath.Join(to, pack+".idx")); err == nil {
			continue // from an earlier batch
		}
		if pack == largest {
			keep = filepath.Join(to, pack+".keep")
			if err := writeKeep(keep); err != nil {
				return "", err
			}
			made = append(made, keep)
		}
		for _, suffix := range suffixes {
			err := linkFile(filepath.Join(from, pack+suffix), filepath.Join(to, pack+suffix))
			if errors.Is(err, fs.ErrNotExist) && suffix == ".rev" {
				continue // git makes do without it
			}
			if err != nil {
				return "", err
			}
			made = append(made, filepath.Join(to, pack+suffix))
		}
	}
	return keep, durable.Sync(to)
}

// packsIn lists the complete packs of a folder, without suffixes, and names
// the largest of them.
func packsIn(dir string) (packs []string, largest string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, "", err
	}
	var most int64 = -1
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".idx")
		if !ok || !strings.HasPrefix(name, "pack-") || !e.Type().IsRegular() {
			continue
		}
		info, err := os.Lstat(filepath.Join(dir, name+".pack"))
		if err != nil {
			return nil, "", err
		}
		packs = append(packs, name)
		if info.Size() > most {
			most, largest = info.Size(), name
		}
	}
	return packs, largest, nil
}

// linkFile makes a hard link, or a copy where the file system cannot. A file that
// is there already is of an earlier attempt and is replaced.
func linkFile(from, to string) error {
	err := durable.LinkOrCopy(from, to)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Remove(to); err != nil {
		return err
	}
	return durable.LinkOrCopy(from, to)
}
