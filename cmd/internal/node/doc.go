// Package node is gitpeer's node: the one process per user that owns the DHT
// node, the torrent client and the store of mirrors, and the client by which
// the command line and the remote helper talk to it.
//
// # Process
//
// [Run] is the node itself, `gitpeer daemon`. It takes the lock of its [Home],
// listens on a unix socket and serves until it is told to stop. [Dial] connects
// to it and starts it on demand, the way gpg-agent is started.
//
// # Interface
//
// HTTP/1.1 over the unix socket, only for processes of the same user. Each
// operation is one POST with a JSON body; the answer is a stream of JSON
// lines, each an [Event]: any number of progress lines, then exactly one
// result or error. Cancelling the request (closing the connection) cancels the
// operation.
//
//	POST /v1/status   {}               → Status
//	POST /v1/publish  PublishRequest   → PublishResult
//	POST /v1/push     PushRequest      → PushResult
//	POST /v1/fetch    FetchRequest     → FetchResult
//	POST /v1/resolve  ResolveRequest   → ResolveResult
//	POST /v1/show     ShowRequest      → ShowResult
//	POST /v1/stop     {}               → Empty
//
// # Mirrors
//
// A mirror is a bare git repository that is the trust boundary: its refs move
// only after policy has passed. Beside the objects it keeps, in gitpeer/,
// the last accepted record and, compressed, snapshot byte for byte, the pins, the decision
// log, the torrent of each pack and the quarantine. Accepting a snapshot is a
// write-ahead log of one file: once gitpeer/accepting is durable the new state
// is the state, and opening a mirror finishes what a killed node began.
//
// # Publications
//
// A publication looks at the record in the DHT while it packs what is new, asks
// git which branches go on, and gpg for the keys of new tips; if one of these
// fails nothing leaves the quarantine. Then the snapshot is signed, accepted,
// seeded, and its record put. Its cost grows with the refs, of which each snapshot
// lists all, and not with the objects.
//
// # Fetches
//
// A fetch looks the record up in the DHT, together with the peers at the
// rendezvous if it has met none there within 20 minutes, and asks the DHT for
// nothing else if the peers it knows have the snapshot and the packs. What it
// brought is announced later, and the record is put again in its turn.
//
// # Quorum
//
// Where a rule asks for several publishers, a fetch asks the others too, each
// for ten seconds at most: record and snapshot, against pins that lie beside
// that publisher's mirror (NAME.heard). Whoever cannot be had has no voice. Only
// if the quorum hangs on commits that are not here are packs fetched, into the
// mirror of the publisher who has them, under the policy without its quorum.
//
// # Packs
//
// Packs are made by git pack-objects in one pass through a piece hasher and a
// scanner, and seeded out of git's own pack files: of a thin pack, which git
// index-pack completes, the original bytes are those of the completed file but
// for the 12 bytes of header and the trailer, which are kept beside the torrent.
//
// A pack that stands by itself is indexed by package packfile. Its scan yields
// the hint, in gitpeer/hints, which readers fetch beside the pack, so that they
// index it while it comes in; the file that was downloaded becomes the mirror's.
// A hint that is lost is not seeded, and nothing else: git index-pack needs none.
//
// A mirror that is served is filled in the background with the listed packs that
// others need of it and it does not need itself (fill.go), and rid of those that
// have left the list (tidy.go).
package node
