package node

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/keys/durable"
	"github.com/gitpeer/gitpeer/refs"
)

// bases hold, for each snapshot that a later pack may lead on from, what such a
// pack may take for granted: those of the snapshot's tips that every snapshot
// since has had (the package comment of refs, "Packs"). Without them a pack
// over a rewound branch would refer to objects that a reader who came later
// never saw.
type bases map[uint64][]refs.OID

// basesJSON is the file gitpeer/bases.
type basesJSON struct {
	Number uint64 `json:"number"` // of the snapshot up to which they are kept
	Bases  bases  `json:"bases"`
}

// loadBases reads the bases that hold at snapshot number. If the file is of
// another one, because the node was killed in between or the snapshot was
// published from another computer, there are none: that costs levels, never
// correctness.
func (m *mirror) loadBases(number uint64) (bases, error) {
	raw, err := readOptional(m.path("bases"))
	if raw == nil || err != nil {
		return bases{}, err
	}
	var stored basesJSON
	if err := json.Unmarshal(raw, &stored); err != nil {
		return nil, fmt.Errorf("gitpeer/bases: %w", err)
	}
	if stored.Number != number || stored.Bases == nil {
		return bases{}, nil
	}
	return stored.Bases, nil
}

// saveBases brings the bases from snapshot number up to the accepted one.
func (m *mirror) saveBases(ctx context.Context, number uint64) error {
	b, err := m.loadBases(number)
	if err != nil {
		return err
	}
	s := m.current().Snapshot
	next, err := b.after(ctx, m.repo, s)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(basesJSON{s.Number, next})
	if err != nil {
		return err
	}
	return durable.Replace(m.path("bases"), raw)
}

// after is the bases once snapshot s is published: without the tips that s no
// longer reaches, with those of s, and only of snapshots that a pack may still
// lead on from. objects has everything that s reaches.
func (b bases) after(ctx context.Context, objects gitcmd.Repo, s *refs.Snapshot) (bases, error) {
	next := bases{}
	keep := anchors(s)
	listed := map[refs.OID]bool{}
	for _, oid := range tips(s.Refs) {
		listed[oid] = true
	}
	unlisted := map[refs.OID]bool{}
	for from, oids := range b {
		if !keep[from] || from >= s.Number {
			continue
		}
		next[from] = oids
		for _, oid := range oids {
			if !listed[oid] {
				unlisted[oid] = true
			}
		}
	}
	reached, err := objects.Reached(ctx, slices.Sorted(maps.Keys(unlisted)), tips(s.Refs))
	if err != nil {
		return nil, err
	}
	for from, oids := range next {
		next[from] = slices.DeleteFunc(slices.Clone(oids), func(oid refs.OID) bool { return !listed[oid] && !reached[oid] })
	}
	next[s.Number] = tips(s.Refs)
	return next, nil
}

// anchors are the snapshots that a pack made after s may lead on from: s, where
// the packs of its list begin and end, and the last multiple of each level's
// span.
func anchors(s *refs.Snapshot) map[uint64]bool {
	keep := map[uint64]bool{s.Number: true}
	for _, p := range s.Packs {
		keep[p.From], keep[p.To] = true, true
	}
	for span := uint64(refs.Radix); span <= s.Number; span *= refs.Radix {
		keep[s.Number/span*span] = true
	}
	return keep
}
