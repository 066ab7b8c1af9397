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

// publishSettings are what a mirror remembers of how it was published.
type publishSettings struct {
	Patterns []string      `json:"refs"`              // that were chosen with --ref; empty: all branches and tags
	Mirrors  []refs.Mirror `json:"mirrors,omitempty"` // that were chosen with --mirror
}

// settings gives what is remembered.
func (m *mirror) settings() (s publishSettings, err error) {
	raw, err := readOptional(m.path("publish.json"))
	if raw == nil || err != nil {
		return s, err
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("gitpeer/publish.json: %w", err)
	}
	return s, nil
}

// chosen are the settings for a publication: what is asked for now, or else what
// was asked for last, so that a branch which was left out once stays private.
func (m *mirror) chosen(req PublishRequest) (publishSettings, error) {
	s, err := m.settings()
	if err != nil {
		return s, err
	}
	if len(req.Patterns) > 0 {
		s.Patterns = req.Patterns
	}
	if len(req.Mirrors) > 0 {
		s.Mirrors, err = parseMirrors(req.Mirrors)
	}
	return s, err
}

// noMirrors, in place of an address, takes back those that were chosen before.
const noMirrors = "none"

// parseMirrors reads the addresses of web servers that a person typed.
func parseMirrors(list []string) (mirrors []refs.Mirror, err error) {
	if len(list) == 1 && list[0] == noMirrors {
		return nil, nil
	}
	for _, text := range list {
		m, err := refs.ParseMirror(text)
		if err != nil {
			return nil, errorf(trust.Usage, "gitpeer publish --mirror https://host/path/", "%v", err)
		}
		if !isPublicHost(m.Host()) {
			return nil, errorf(trust.Usage, "git config -f CONFIG repo.NAME.mirror "+text+"    # for yourself, see docs/config.md",
				"readers do not follow a mirror that only your network can reach: %s", text)
		}
		mirrors = append(mirrors, m)
	}
	return mirrors, nil
}

// remember stores the settings of a publication that succeeded.
func (m *mirror) remember(s publishSettings) error {
	if was, err := m.settings(); err == nil && slices.Equal(was.Patterns, s.Patterns) && slices.Equal(was.Mirrors, s.Mirrors) {
		return nil
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return durable.Replace(m.path("publish.json"), raw)
}
