// Package announce publishes, keeps alive and resolves the record of a
// repository in the Mainline DHT. This comment is the specification of the
// mapping: what lies where in the DHT, who puts it there, when, and what a
// reader believes of it. The form of the record itself is in package refs.
//
// # The item
//
// The record of the repository gitpeer://<publisher>/<name> is a BEP-44
// mutable item:
//
//	k     the publisher's ed25519 public key, 32 bytes
//	salt  "<name>/HEAD", 6 to 53 bytes
//	seq   see below
//	v     the record: a canonical bencoded dictionary, at most 700 bytes, whose
//	      key "ih" makes it an item that BEP-46 readers can follow
//	sig   ed25519 by k over "4:salt<n>:<salt>3:seqi<seq>e1:v<v>"
//
// It lies on the nodes closest to its target, SHA-1(k ‖ salt). cas is never
// sent: some nodes compare it with the wrong thing, and would then refuse all
// our later puts.
//
// 700 bytes are a limit of ours: with the contacts that some nodes add, the
// answer to a get still fits one datagram of 1472 bytes.
//
// [Item.Format] is the item as a file: the bencoded dictionary of k, salt,
// seq, sig and v.
//
// # The rendezvous
//
// Whoever serves packs of the repository, of any version, announces itself
// (BEP 5 announce_peer, with the explicit port of its BitTorrent listener)
// under that same target. A get and a get_peers for one target walk the same
// nodes, so that one walk finds the record and the swarm.
//
// # seq
//
// A publisher takes
//
//	seq = max(highest seq seen + 1, Unix time in milliseconds)
//
// and never signs two values with one seq: there is one writer for each key
// and name, and what it signs it saves before it sends it. Time makes seq grow
// even if all local state is lost. A renewal says the same again with a new
// seq, a new time of signing and a new expiry.
//
// # Resolving
//
// A reader collects the answers of all nodes that the walk ends at, and does
// not stop at the first: where half of the holders are stale, the first answer
// is an old one in a fifth of the lookups. Then, in this order ([Resolve]):
//
//  1. Ignore, and count, what does not verify or is for another key or salt.
//  2. Set aside what is more than a day ahead of the reader's clock
//     ([MaxAhead]). If nothing else is left: *[FutureError].
//  3. Take the highest seq. None: [ErrNotFound], or [ErrNoNodes] if no node
//     answered at all.
//  4. Lower than the floor, the seq accepted before: *[RollbackError].
//  5. Two values at that seq, among the answers or with the floor's:
//     *[EquivocationError] with both signed items. Two values at a lower seq
//     are reported in the [Resolution] and not fatal: signing a higher seq is
//     how a publisher mends such an accident, and refusing for ever would make
//     it permanent. The evidence is the same in both cases.
//  6. Not a record: *[RecordError]. Older records do not count, for the
//     publisher has replaced them.
//  7. Expired: *[ExpiredError].
//
// If a lookup finds nothing acceptable it is repeated, after half a second and
// again after two, because lost datagrams look like missing records. Answers
// of all lookups count together. One lookup takes [LookupTimeout] at the most,
// all of it [ResolveTimeout].
//
// Peers are the hints of the record, at most 16, then those of the rendezvous:
// IPv4 unmapped from IPv6, without zones, each once, at most [MaxPeers].
// Nobody has verified them.
//
// # Publishing
//
// [Publish] reads the current record first, or takes the caller's word for it
// ([Publication.Lookup]). If that is newer than the last one
// known here, or another one of the same seq, the key is in use elsewhere:
// *[InUseError], and nothing is sent. Then it signs, saves, puts the item on
// the (up to [PutNodes]) closest nodes, and reads it back in a new lookup.
//
// A node holds the item if it gave it back, or said that it stored it and did
// not answer the read back. Error 302 counts as holding where the node already
// had this very item: some nodes answer a plain republish so. A node that says
// "stored" and then answers without the item does not hold it; torrent clients
// do this. 302 by a node that shows no newer item is reported (Newer) and not
// believed.
//
// If no node gave the item back there are two cases. *[NotStoredError]: each
// node refused, or answered without it, so nobody has it.
// *[UnknownOutcomeError]: some said nothing, then and now. Who gets that keeps
// what was signed, looks again later, and republishes the same bytes.
//
// Two writers of one key who read before either has put cannot see each other.
// The read back of at least one then shows the other's item, and that one gets
// *[InUseError] with Sent set. Some nodes let two values at one seq replace
// each other; the millisecond in seq makes this rare, and readers detect it.
//
// # Keeping alive
//
// Nodes forget an item two hours after the last put (BEP 44 says "may"; many
// keep it for days) and a peer after 30 to 45 minutes. A [Keeper] therefore
//
//   - looks at each repository, and announces this host if it serves packs,
//     every 15 to 25 minutes; sooner if a put is due;
//   - puts the same signed bytes again every 54 to 66 minutes. This needs no
//     key: anybody who holds the item does it, and so a repository survives
//     its publisher's absence;
//   - puts them out of turn when fewer than 4 of the nodes it looked at hold
//     them;
//   - leaves an item alone that a reader's lookup has just found on 4 nodes or
//     more, until it is due: with every fetch of every reader a put to 20 nodes
//     would follow, of what they hold;
//   - renews the record, if it has the key, when a seventh of its life is
//     over: daily, with the usual 7 days. So a publisher that is on for an hour
//     a day can go away at any time and leave a record that is good for five
//     days more, at least;
//   - takes over a newer item that says the same (another computer of the
//     publisher renewed it), and puts that from then on. Two computers with
//     one key share the renewals: each waits a random part of six hours, looks,
//     and signs only if the other has not;
//   - stops putting an item when a newer one says something else, tells its
//     owner, and goes on announcing; likewise when the item has expired, or
//     its publisher has equivocated;
//   - tries again a minute after a failure, then after 2, 4, … up to 30, each
//     ± 20 %. A record on fewer than 4 nodes is a failure. [Keeper.Settle] tries at once.
//
// It looks at four repositories at once at the most: some nodes answer a host
// that sends more than five packets a second with silence.
//
// # Not defended
//
//   - Eclipse: who controls all nodes close to the target, or the reader's way
//     to them, decides whether the reader finds anything. Peers that the
//     reader knows by other ways are the remedy.
//   - Withholding: nodes that go on showing an old, unexpired record. The
//     floor keeps a reader from going back, and expiry bounds how long it can
//     stand still without noticing; until then nothing can be noticed. A reader
//     at first contact has no floor.
//   - Split view: readers that never compare notes can be shown two values at
//     one seq, each to one of them.
//   - A stolen key: its thief can publish, and can use up the seqs. What it
//     cannot do is in package trust.
//   - Privacy: nodes see the addresses of those who look up, and everybody sees
//     those who announce.
package announce
