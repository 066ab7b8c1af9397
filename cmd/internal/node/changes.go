package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/refs"
)

// Problems with a ref of a push, as git prints them.
const (
	problemRewind   = "non-fast-forward"
	problemExists   = "already exists"
	problemLease    = "stale info"
	problemAbsent   = "remote ref does not exist"
	problemHead     = "deletion of the current branch prohibited"
	problemName     = "funny refname"
	problemMissing  = "object is not in your repository"
	problemKind     = "a branch has to be on a commit"
	problemConflict = "conflicts with another ref"
	problemAtomic   = "atomic push failed"
)

// A history is a repository that remembers which commits descend from which: a
// push asks before it is judged, and once more for what readers will say.
type history struct {
	gitcmd.Repo
	forward map[[2]refs.OID]bool
}

func newHistory(objects gitcmd.Repo) *history {
	return &history{objects, map[[2]refs.OID]bool{}}
}

// IsAncestor is that of the repository.
func (h *history) IsAncestor(ctx context.Context, a, b refs.OID) (bool, error) {
	if known, ok := h.forward[[2]refs.OID{a, b}]; ok {
		return known, nil
	}
	forward, err := h.Repo.IsAncestor(ctx, a, b)
	if err == nil {
		h.forward[[2]refs.OID{a, b}] = forward
	}
	return forward, err
}

// applyUpdates works out what the refs are after a push, judging each update
// as git does on a server. objects can read both old and new commits.
func applyUpdates(ctx context.Context, objects *history, old *refs.Snapshot, req *PushRequest) ([]refs.Ref, []RefResult, error) {
	now := map[refs.Name]refs.OID{}
	var head refs.Name
	if old != nil {
		for _, r := range old.Refs {
			now[r.Name] = r.OID
		}
		head = old.Head
	}
	kinds, err := tipKinds(ctx, objects, req.Updates)
	if err != nil {
		return nil, nil, err
	}
	results := make([]RefResult, len(req.Updates))
	failed := false
	for i, u := range req.Updates {
		problem := judgeUpdate(now[u.Dst], head, u, kinds)
		if problem == "" {
			if problem, err = judgeMove(ctx, objects, now[u.Dst], u); err != nil {
				return nil, nil, err
			}
		}
		results[i] = RefResult{Dst: u.Dst, Problem: problem}
		failed = failed || problem != ""
	}
	if req.Atomic && failed {
		for i := range results {
			if results[i].Problem == "" {
				results[i].Problem = problemAtomic
			}
		}
		return nil, results, nil
	}
	for i, u := range req.Updates {
		if results[i].Problem != "" {
			continue
		}
		if delete(now, u.Dst); u.New != "" {
			now[u.Dst] = u.New
		}
	}
	list, err := sortedRefs(ctx, objects.Repo, now, old)
	if err != nil {
		return nil, nil, err
	}
	return list, results, nil
}

// tipKinds says what the objects of a push are: "" is one that is not there.
func tipKinds(ctx context.Context, objects *history, updates []RefUpdate) (map[refs.OID]string, error) {
	var tips []refs.OID
	for _, u := range updates {
		if u.New != "" {
			tips = append(tips, u.New)
		}
	}
	if len(tips) == 0 {
		return nil, nil
	}
	list, err := objects.Describe(ctx, tips)
	if err != nil {
		return nil, err
	}
	kinds := map[refs.OID]string{}
	for i, oid := range tips {
		kinds[oid] = list[i].Kind
	}
	return kinds, nil
}

// judgeUpdate says what is wrong with one update of a ref that is at have ("" if
// it does not exist), or "" if nothing is but perhaps where it goes.
func judgeUpdate(have refs.OID, head refs.Name, u RefUpdate, kinds map[refs.OID]string) string {
	if _, err := refs.ParseName(string(u.Dst)); err != nil || !u.Dst.IsBranch() && !u.Dst.IsTag() {
		return problemName
	}
	switch {
	case u.Expect != nil && *u.Expect != have:
		return problemLease
	case u.New == "" && have == "":
		return problemAbsent
	case u.New == "" && u.Dst == head:
		return problemHead
	case u.New == "" || u.New == have:
		return ""
	case kinds[u.New] == "":
		return problemMissing
	case u.Dst.IsBranch() && kinds[u.New] != "commit":
		return problemKind
	}
	return ""
}

// judgeMove says whether a ref may go from where it is to another object.
func judgeMove(ctx context.Context, objects *history, have refs.OID, u RefUpdate) (string, error) {
	switch {
	case u.New == "" || u.New == have || have == "" || u.Force || u.Expect != nil:
		return "", nil
	case u.Dst.IsTag():
		return problemExists, nil
	}
	forward, err := objects.IsAncestor(ctx, have, u.New)
	if err != nil || forward {
		return "", err
	}
	return problemRewind, nil
}

// sortedRefs lists refs in the order of a snapshot, peeling those that old does
// not have at the same place.
func sortedRefs(ctx context.Context, objects gitcmd.Repo, now map[refs.Name]refs.OID, old *refs.Snapshot) ([]refs.Ref, error) {
	known := map[refs.OID]refs.OID{}
	if old != nil {
		for _, r := range old.Refs {
			known[r.OID] = r.Peeled
		}
	}
	list := make([]refs.Ref, 0, len(now))
	var unknown []int
	for name, oid := range now {
		list = append(list, refs.Ref{Name: name, OID: oid})
	}
	slices.SortFunc(list, func(a, b refs.Ref) int { return strings.Compare(string(a.Name), string(b.Name)) })
	for i := range list {
		peeled, ok := known[list[i].OID]
		if list[i].Peeled = peeled; !ok {
			unknown = append(unknown, i)
		}
	}
	if err := objects.Peel(ctx, list, unknown); err != nil {
		return nil, err
	}
	return list, nil
}

// chooseHead picks the branch that HEAD of a repository names: preferred if it
// is listed, else the one it named before, else main, master, or the first.
func chooseHead(list []refs.Ref, preferred ...refs.Name) refs.Name {
	var first refs.Name
	listed := map[refs.Name]bool{}
	for _, r := range list {
		listed[r.Name] = true
		if first == "" && r.Name.IsBranch() {
			first = r.Name
		}
	}
	for _, name := range append(preferred, "refs/heads/main", "refs/heads/master") {
		if listed[name] {
			return name
		}
	}
	return first
}

// checkRefs refuses refs that a snapshot cannot hold, with their names.
func checkRefs(list []refs.Ref) error {
	names := make([]refs.Name, len(list))
	for i, r := range list {
		if _, err := refs.ParseName(string(r.Name)); err != nil {
			return err
		}
		names[i] = r.Name
	}
	return refs.CheckNames(names)
}

// rewinds are the branches of now that do not descend from where they were, and
// the tags that moved or are gone: readers will refuse them. It also gives what branches
// that do descend have left behind.
func rewinds(ctx context.Context, objects *history, old, now []refs.Ref) (notes []string, passed map[refs.OID]bool, err error) {
	was := map[refs.Name]refs.OID{}
	for _, r := range old {
		was[r.Name] = r.OID
	}
	passed = map[refs.OID]bool{}
	for _, r := range now {
		before := was[r.Name]
		delete(was, r.Name)
		if before == "" || before == r.OID {
			continue
		}
		if r.Name.IsTag() {
			notes = append(notes, fmt.Sprintf("tag %s moved: readers who have seen it will refuse it", r.Name.Short()))
			continue
		}
		forward, err := objects.IsAncestor(ctx, before, r.OID)
		if err != nil {
			return nil, nil, err
		}
		if passed[before] = passed[before] || forward; !forward {
			notes = append(notes, fmt.Sprintf("branch %s goes back or aside: readers will refuse it until they allow the rewind", r.Name.Short()))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if name.IsTag() {
			notes = append(notes, fmt.Sprintf("tag %s is gone: readers who have seen it will take nothing new until you push it again as it was: %s:%s",
				name.Short(), was[name], name))
		}
	}
	return notes, passed, nil
}
