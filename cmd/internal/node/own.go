package node

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/gitpeer/gitpeer/keys/durable"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// ownPolicy is what holds for the user's own repositories: the user's key is
// the publisher's, so the publisher's word is the user's own.
func ownPolicy(a refs.Address) (*trust.Policy, error) {
	return trust.Parse(fmt.Sprintf(`[gitpeer]
	version = 1
[publisher "own"]
	key = %s
	repos = all
[rule "own"]
	publisher = own
	ref = refs/*
	mode = publisher
	tags = any
	rewind = allow
`, a.Publisher), nil)
}

// ownPins are the pins that a publication of the user's own sets. Nothing is
// decided: whoever publishes may move branches and tags, and sees a warning.
func ownPins(a refs.Address, s *state) *trust.Pins {
	p := floors(a, s)
	p.Seen, p.Refs = time.Now().UTC().Truncate(time.Second), map[refs.Name]trust.Pin{}
	for _, ref := range s.Snapshot.Refs {
		p.Refs[ref.Name] = trust.Pin{OID: ref.OID, Peeled: ref.Peeled}
	}
	return p
}

// floors are the pins of a statement as such, whatever its refs lead to.
func floors(a refs.Address, s *state) *trust.Pins {
	r := received(a, s)
	return &trust.Pins{Repository: a, Seq: r.Seq, Value: r.ValueDigest(), Number: s.Snapshot.Number, Snapshot: s.Record.Snapshot}
}

// A publishSettings is what a mirror remembers of how it was published.
type publishSettings struct {
	Patterns []string `json:"refs"` // that were chosen with --ref; empty: all branches and tags
}

// patterns gives the refs to publish: what is asked for now, or else what was
// asked for last, so that a branch which was left out once stays private.
func (m *mirror) patterns(asked []string) ([]string, error) {
	if len(asked) > 0 {
		return asked, nil
	}
	raw, err := readOptional(m.path("publish.json"))
	if raw == nil || err != nil {
		return nil, err
	}
	var s publishSettings
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("gitpeer/publish.json: %w", err)
	}
	return s.Patterns, nil
}

// remember stores the patterns of a publication that succeeded.
func (m *mirror) remember(patterns []string) error {
	if was, err := m.patterns(nil); err == nil && slices.Equal(was, patterns) {
		return nil
	}
	raw, err := json.Marshal(publishSettings{patterns})
	if err != nil {
		return err
	}
	return durable.Replace(m.path("publish.json"), raw)
}
