package node

import (
	"bytes"
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

// basesJSON is the file gitpeer/bases. Most tips are those of most bases, and
// there may be thousands: each is written once.
type basesJSON struct {
	Number uint64            `json:"number"` // of the snapshot up to which they are kept
	Tips   []refs.OID        `json:"tips"`
	Sets   map[uint64][]byte `json:"sets"` // by snapshot: bit i%8 of byte i/8 is set if it has tip i
}

// format writes the bases that hold at snapshot number.
func (b bases) format(number uint64) ([]byte, error) {
	j := basesJSON{Number: number, Sets: map[uint64][]byte{}}
	place := map[refs.OID]int{}
	for _, from := range slices.Backward(slices.Sorted(maps.Keys(b))) {
		set := make([]byte, (len(place)+len(b[from])+7)/8)
		for _, oid := range b[from] {
			i, ok := place[oid]
			if !ok {
				i = len(j.Tips)
				place[oid], j.Tips = i, append(j.Tips, oid)
			}
			set[i/8] |= 1 << (i % 8)
		}
		j.Sets[from] = bytes.TrimRight(set, "\x00")
	}
	return json.Marshal(j)
}

// bases gives what format was given. Its tips go into the input of git: each must
// be an object id, and all of one format.
func (j *basesJSON) bases() (bases, error) {
	format := refs.SHA1
	if len(j.Tips) > 0 && len(j.Tips[0]) == refs.SHA256.HexLen() {
		format = refs.SHA256
	}
	seen := map[refs.OID]bool{}
	for _, oid := range j.Tips {
		if _, err := refs.ParseOID(string(oid), format); err != nil {
			return nil, fmt.Errorf("gitpeer/bases: %w", err)
		}
		if oid.IsZero() || seen[oid] {
			return nil, fmt.Errorf("gitpeer/bases: %s is no tip, or there twice", oid)
		}
		seen[oid] = true
	}
	b := bases{}
	for from, set := range j.Sets {
		b[from] = []refs.OID{}
		for i := range 8 * len(set) {
			switch {
			case set[i/8]>>(i%8)&1 == 0:
			case i >= len(j.Tips):
				return nil, fmt.Errorf("gitpeer/bases: %d has tip %d of %d", from, i, len(j.Tips))
			default:
				b[from] = append(b[from], j.Tips[i])
			}
		}
	}
	return b, nil
}

func parseBases(raw []byte) (*basesJSON, error) {
	stored := &basesJSON{}
	if err := json.Unmarshal(raw, stored); err != nil {
		return nil, fmt.Errorf("gitpeer/bases: %w", err)
	}
	return stored, nil
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
	stored, err := parseBases(raw)
	if err != nil {
		return nil, err
	}
	if stored.Number != number {
		return bases{}, nil
	}
	return stored.bases()
}

// saveBases brings the bases up to the accepted snapshot. passed are tips of
// the one before that tips of this one are known to descend from, and old the
// bases that held at it.
func (m *mirror) saveBases(ctx context.Context, old bases, passed map[refs.OID]bool) error {
	s := m.current().Snapshot
	next, err := old.after(ctx, m.repo, s, passed)
	if err != nil {
		return err
	}
	raw, err := next.format(s.Number)
	if err != nil {
		return err
	}
	return durable.Replace(m.path("bases"), raw)
}

// after is the bases once snapshot s is published: without the tips that s no
// longer reaches, with those of s, and only of snapshots that a pack may still
// lead on from. objects has everything that s reaches, and s reaches passed.
func (b bases) after(ctx context.Context, objects gitcmd.Repo, s *refs.Snapshot, passed map[refs.OID]bool) (bases, error) {
	next := bases{}
	keep := anchors(s)
	reached := maps.Clone(passed)
	if reached == nil {
		reached = map[refs.OID]bool{}
	}
	for _, oid := range tips(s.Refs) {
		reached[oid] = true
	}
	for from, oids := range b {
		if keep[from] && from < s.Number {
			next[from] = oids
		}
	}
	// What the last snapshot reached, s reaches if it reaches that one's tips.
	lost := func(oid refs.OID) bool { return !reached[oid] }
	if last, ok := b[s.Number-1]; !ok || slices.ContainsFunc(last, lost) {
		unknown := map[refs.OID]bool{}
		for _, oids := range next {
			for _, oid := range oids {
				if lost(oid) {
					unknown[oid] = true
				}
			}
		}
		more, err := objects.Reached(ctx, slices.Sorted(maps.Keys(unknown)), tips(s.Refs))
		if err != nil {
			return nil, err
		}
		maps.Copy(reached, more)
		for from, oids := range next {
			next[from] = slices.DeleteFunc(slices.Clone(oids), lost)
		}
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
