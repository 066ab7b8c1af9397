package node

import (
	"fmt"
	"time"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// An Error is what the node answers when an operation fails. Code is the exit
// status that programs end with (the table of codes is in package trust);
// Hint, if any, is one command or sentence that says what to do next.
type Error struct {
	Code     trust.Code      `json:"code"`
	Message  string          `json:"message"`
	Hint     string          `json:"hint,omitempty"`
	Verdicts []trust.Verdict `json:"verdicts,omitempty"` // the refused refs, if a policy refused
}

func (e *Error) Error() string { return e.Message }

// A Progress line says how far one stage of an operation has come. Stages are
// words for people: "Looking up the record", "Receiving objects".
type Progress struct {
	Stage string `json:"stage"`
	Done  int64  `json:"done"`            // bytes, objects or nodes, as Unit says
	Total int64  `json:"total,omitempty"` // 0 if not known
	Unit  string `json:"unit,omitempty"`  // "bytes", "objects", "nodes" or ""
	Rate  int64  `json:"rate,omitempty"`  // bytes a second
	Peers int    `json:"peers,omitempty"`
	Over  bool   `json:"over,omitempty"`  // the stage is finished
	Bytes int64  `json:"bytes,omitempty"` // that came in, where Unit is "objects"
	Note  string `json:"note,omitempty"`  // a line for people, by itself: a fact, or with Warning a warning
	// Warning marks a note that --quiet does not hide.
	Warning bool `json:"warning,omitempty"`
}

// A ProgressFunc is told of progress; it is called from one goroutine.
type ProgressFunc func(Progress)

// An Event is one line of an answer: exactly one field is set.
type Event struct {
	Progress *Progress `json:"progress,omitempty"`
	Result   any       `json:"result,omitempty"`
	Error    *Error    `json:"error,omitempty"`
}

// Empty is the result of an operation that has nothing to say.
type Empty struct{}

// Credentials let the node use the publisher key of the person who calls.
type Credentials struct {
	AgentSocket string `json:"agent_socket,omitempty"` // SSH_AUTH_SOCK of the caller
	Passphrase  []byte `json:"passphrase,omitempty"`   // of an encrypted key file; kept in memory only
}

// A PublishRequest publishes refs of a local repository (DESIGN §4.1).
type PublishRequest struct {
	Dir         string      `json:"dir"`               // a work tree or git directory, absolute
	Name        string      `json:"name"`              // repository name; "" derives it from Dir
	Mirrors     []string    `json:"mirrors,omitempty"` // web servers to name; empty: those of last time; "none": none any more
	Patterns    []string    `json:"refs,omitempty"`    // ref names or globs; empty: all branches and tags
	Repack      bool        `json:"repack,omitempty"`  // make one pack of all, with new deltas, even if nothing has changed
	Credentials Credentials `json:"credentials"`
	GnupgHome   string      `json:"gnupg_home,omitempty"` // GNUPGHOME of the caller, absolute: where certificates of tip signers are
}

// A PublishResult says what was published and how well the record is stored.
type PublishResult struct {
	URL      string        `json:"url"`
	Seq      int64         `json:"seq"`
	Number   uint64        `json:"number"`
	HeadRef  refs.Name     `json:"head_ref,omitempty"`
	Head     refs.OID      `json:"head,omitempty"`
	InfoHash refs.InfoHash `json:"infohash"`
	Refs     int           `json:"refs"`
	Packs    int           `json:"packs"`     // in the snapshot
	NewBytes int64         `json:"new_bytes"` // of packs made now
	Stored   int           `json:"stored"`    // nodes that hold the record
	Asked    int           `json:"asked"`     // nodes that were asked to
	Expires  time.Time     `json:"expires"`
	Changed  bool          `json:"changed"` // false: the refs were already published; the record was renewed
}

// A RefUpdate is one line of a push. Lengths of names are those of package refs.
type RefUpdate struct {
	Dst    refs.Name `json:"dst"`
	New    refs.OID  `json:"new"`              // "" deletes the ref
	Force  bool      `json:"force,omitempty"`  // allow other than a fast-forward
	Expect *refs.OID `json:"expect,omitempty"` // force-with-lease: what Dst must be now ("" for absent)
}

// A PushRequest changes some refs of one of the user's own repositories and
// publishes the outcome.
type PushRequest struct {
	GitDir      string      `json:"git_dir"` // where the objects come from, absolute
	URL         string      `json:"url"`
	Updates     []RefUpdate `json:"updates"`
	Atomic      bool        `json:"atomic,omitempty"`
	DryRun      bool        `json:"dry_run,omitempty"`
	Credentials Credentials `json:"credentials"`
	GnupgHome   string      `json:"gnupg_home,omitempty"` // as in PublishRequest
}

// A SettleRequest asks that what was published last of one of the user's own
// repositories is in the DHT. It is put now if that is not known.
type SettleRequest struct {
	URL string `json:"url"`
}

// A RefResult says what became of one RefUpdate; Problem is "" if it was done.
type RefResult struct {
	Dst     refs.Name `json:"dst"`
	Problem string    `json:"problem,omitempty"` // as git prints it: "non-fast-forward", "stale info", …
}

// A PushResult holds one RefResult for each update, in order, and what was
// published; Published is nil in a dry run or if no ref changed.
type PushResult struct {
	Refs      []RefResult    `json:"refs"`
	Published *PublishResult `json:"published,omitempty"`
}

// A FetchRequest brings the mirror of a repository up to date (DESIGN §4.2).
type FetchRequest struct {
	URL         string   `json:"url"`
	Peers       []string `json:"peers,omitempty"`        // host:port to ask besides those found
	AllowRewind bool     `json:"allow_rewind,omitempty"` // accept refs that go back, once; it is logged
	Look        bool     `json:"look,omitempty"`         // ask the DHT, even if it was asked a moment ago
	Own         bool     `json:"own,omitempty"`          // push is about to follow: the mirror of an own key is enough
}

// A FetchResult is the accepted state of a mirror.
type FetchResult struct {
	URL          string            `json:"url"`
	Mirror       string            `json:"mirror"` // path of the bare repository, "" if nothing was ever published
	ObjectFormat refs.ObjectFormat `json:"object_format"`
	Head         refs.Name         `json:"head,omitempty"`
	Refs         []refs.Ref        `json:"refs"`
	Number       uint64            `json:"number"`
	Signed       time.Time         `json:"signed"`
	Expires      time.Time         `json:"expires"`
	Stale        string            `json:"stale,omitempty"` // why this is an earlier verified state, if it is
	Changed      bool              `json:"changed"`
	Verdicts     []trust.Verdict   `json:"verdicts,omitempty"`
}

// A ResolveRequest asks the DHT for the record of a repository.
type ResolveRequest struct {
	URL string `json:"url"`
}

// A ResolveResult is a record as the DHT has it; no trust policy was applied.
type ResolveResult struct {
	URL      string        `json:"url"`
	Seq      int64         `json:"seq"`
	Number   uint64        `json:"number"`
	Head     refs.OID      `json:"head,omitempty"`
	InfoHash refs.InfoHash `json:"infohash"`
	Snapshot refs.Digest   `json:"snapshot_sha256"`
	Signed   time.Time     `json:"signed"`
	Expires  time.Time     `json:"expires"`
	Agreed   int           `json:"agreed"`   // nodes that hold this very record
	Answered int           `json:"answered"` // nodes that answered
	Asked    int           `json:"asked"`
	Peers    []string      `json:"peers"`
	Millis   int64         `json:"ms"` // the lookup took
}

// A ShowRequest asks for the snapshot of a repository, without its packs.
type ShowRequest struct {
	URL   string   `json:"url"`
	Peers []string `json:"peers,omitempty"`
}

// A ShowRef is a ref of a snapshot with the verdict of the local policy. The
// verdict is absent where the objects that it needs are not here.
type ShowRef struct {
	Name    refs.Name      `json:"name"`
	OID     refs.OID       `json:"oid"`
	Peeled  refs.OID       `json:"peeled,omitempty"`
	Verdict *trust.Verdict `json:"verdict,omitempty"`
}

// A ShowPack is a pack of a snapshot.
type ShowPack struct {
	InfoHash refs.InfoHash `json:"infohash"`
	SHA256   refs.Digest   `json:"sha256"`
	Bytes    int64         `json:"bytes"`
	Objects  int64         `json:"objects"`
	Inflated int64         `json:"inflated"`
	From     uint64        `json:"from"`
	To       uint64        `json:"to"`
	Magnet   string        `json:"magnet"`
	Hint     string        `json:"hint,omitempty"` // magnet link of the pack's hint, if it has one
}

// A ShowResult is a snapshot as published.
type ShowResult struct {
	URL          string            `json:"url"`
	Number       uint64            `json:"number"`
	Time         time.Time         `json:"time"`
	ObjectFormat refs.ObjectFormat `json:"object_format"`
	Head         refs.Name         `json:"head,omitempty"`
	Refs         []ShowRef         `json:"refs"`
	Packs        []ShowPack        `json:"packs"`
	Magnet       string            `json:"magnet"`            // of the snapshot itself
	Mutable      string            `json:"mutable"`           // BEP-46 link: magnet:?xs=urn:btpk:…
	Signers      [][]byte          `json:"signers,omitempty"` // certificates the publisher claims; not trusted
	Mirrors      []refs.Mirror     `json:"mirrors,omitempty"` // web servers that the publisher names
	Accepted     bool              `json:"accepted"`          // it is the last accepted snapshot of the mirror
}

// An ExportRequest asks for the files of a web mirror (refs.Mirror).
type ExportRequest struct {
	URL string `json:"url"`
	Dir string `json:"dir"` // absolute; made if it is not there
}

// An ExportResult says what lies in the folder now.
type ExportResult struct {
	URL    string `json:"url"`
	Dir    string `json:"dir"`
	Number uint64 `json:"number"` // of the snapshot
	Packs  int    `json:"packs"`  // that are there
	Listed int    `json:"listed"` // packs of the snapshot
	Files  int    `json:"files"`  // that were written now
	Bytes  int64  `json:"bytes"`  // of them
}

// A RepoStatus describes one mirror.
type RepoStatus struct {
	URL       string    `json:"url"`
	Role      string    `json:"role"` // "publisher" or "mirror"
	Number    uint64    `json:"number"`
	Head      refs.OID  `json:"head,omitempty"`
	Refs      int       `json:"refs"`
	Packs     int       `json:"packs"`
	Bytes     int64     `json:"bytes"`  // of the packs
	Sent      int64     `json:"sent"`   // bytes of packs sent to peers, ever
	Peers     int       `json:"peers"`  // connected now
	Stored    int       `json:"stored"` // nodes that took the record at the last republish
	Expires   time.Time `json:"expires"`
	Next      time.Time `json:"next_republish"`
	Stopped   string    `json:"stopped,omitempty"` // why it is not served, if the seeding policy says so
	LastError string    `json:"last_error,omitempty"`
}

// LimitStatus is what the configuration limits the node to; 0 is no limit.
type LimitStatus struct {
	Upload      int64   `json:"upload"`      // bytes a second
	Download    int64   `json:"download"`    // bytes a second
	Connections int     `json:"connections"` // with peers, in all
	PerTorrent  int     `json:"per_torrent"`
	HalfOpen    int     `json:"half_open"`
	Ratio       float64 `json:"seed_ratio"`
	Size        int64   `json:"seed_size"` // bytes
	AgeSeconds  int64   `json:"seed_age"`
}

// A Status describes the node.
type Status struct {
	Version  string       `json:"version"`
	PID      int          `json:"pid"`
	Started  time.Time    `json:"started"`
	Home     string       `json:"home"`
	Log      string       `json:"log"`
	Listen   string       `json:"listen"`
	Nodes    int          `json:"dht_nodes"` // that answered lately
	Limits   LimitStatus  `json:"limits"`
	Identity string       `json:"identity,omitempty"`
	Repos    []RepoStatus `json:"repositories"`
}

// errorf makes an Error of a code and a message.
func errorf(code trust.Code, hint, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Hint: hint}
}
