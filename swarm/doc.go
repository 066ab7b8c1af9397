// Package swarm is gitpeer's part in BitTorrent swarms and in the Mainline DHT. It is the only
// package that imports anacrolix/torrent and anacrolix/dht, and it treats both as code that a
// stranger's packet can crash.
//
// # Torrents
//
// A [Node] has one TCP and one UDP port. It serves what it is given with [Node.Seed] from an
// [io.ReaderAt], wherever the bytes lie, and brings in a torrent with [Node.Fetch] as a stream of
// verified bytes that follows the download. Who knows peers says so in the request or with
// [Node.AddPeers]; besides, each torrent is announced in the DHT under its infohash, where clients
// of others look, at once or, if others have it too, within [AnnounceLater]. A download that has
// peers is looked up there only if it takes longer than 1.5 s. No tracker is asked. [Magnet] and [Info.TorrentFile] name a torrent to other clients.
//
// A torrent of gitpeer is described by an [Info]: one file, version 1, four keys, canonically
// encoded. A [Hasher] makes it in one pass over a stream of unknown length.
//
// Readers that come together cost a weak origin little more than one copy, however many they are:
// a seeder super-seeds (BEP 16, superseed.go) while no second copy is about, and nodes tell each
// other of new peers at once (BEP 11, pex.go). It measures as follows, in the network in memory of
// TestCrowd: with 2 to 8 readers on a simulated network the last one is done after 1.07 times what
// one copy takes, and the origin has sent 1.07 copies. docs/bench has whole programs.
//
// Who is behind a NAT calls those who announce that they fetch, as long as nobody can call it
// (call.go, [Node.CallReaders]); docs/decisions.md says through which NATs that goes.
//
// What holds, whatever peers send:
//
//   - Read returns only bytes whose piece matched its SHA-1. That piece hash guards the transfer;
//     what a pack must be is said by the SHA-256 in a signed snapshot, checked elsewhere.
//   - No name from the network becomes a path. Data goes to the one file that the caller names.
//   - Metadata is bounded to 1 MiB, compared with the infohash and then parsed by [ParseInfo]; the
//     library gets it only after that. It never sees a message that can crash it (wire.go).
//   - Whoever sends wrong data is found out and kept away for an hour (blame.go), by IP address,
//     and on loopback, where all peers share one, by port and peer id.
//   - Memory does not grow with the length of a torrent, except 20 bytes and a few hundred more for
//     each piece, of which there are up to 4096 in a torrent made by [Hasher].
//   - Nothing hangs: a fetch ends when nothing has come for its stall time-out, and says what was
//     tried.
//
// # The DHT
//
// [NewDHT] runs one DHT node on one IPv4 datagram socket. It answers others,
// keeps their items (BEP 44, two hours after the last put) and peers (BEP 5),
// and implements announce.DHT:
//
//   - Lookup is one walk that asks every node on the way for the item and for
//     the peers at the same target, and collects all answers. With 50 nodes and
//     35 ms between them it asks 25 and takes 0.2 s; a dead node on the way
//     costs 0.4 s of one of 12 places, and at the end up to a second.
//     [Records] asks for the item alone, and [DHT.FindPeers] for the peers of
//     a torrent, of the 8 nearest nodes.
//   - Store puts an item on the nodes that the walk found nearest, 20 of them,
//     and says for each what became of it.
//   - Announce announces an explicit port; implied_port would tell the DHT's.
//
// It never sends cas (many nodes compare it wrongly and then refuse every
// later put), never uses exts/getput (see below), and never asks a public
// router unless it was told to.
//
// # What the library is protected from
//
// One UDP packet kills a process that runs anacrolix/dht v2.24.0 bare. Between
// the network and the library stands a guard, a net.PacketConn that passes on
// canonical, well-formed KRPC from IPv4 addresses and drops all else:
//
//   - a query put or announce_peer without arguments (nil dereference);
//   - an "ip" or an entry of "values" shorter than two bytes (negative length,
//     in the decoder);
//   - an answer to get with a key but without seq (dereferenced by exts/getput);
//   - unsorted or repeated keys, which the library prints, whole, on the
//     global log;
//   - unknown methods, each of which stays in an expvar map for ever;
//   - more than some 25 queries a second from one address, loopback excepted;
//   - errors of the socket: the library panics when a read fails.
//
// What passes is repaired before it is answered, because the library answers
// find_node and get by info_hash instead of target, repeats IPv4 nodes as
// mapped IPv6 ones, demands seq of immutable items and mistakes cas. Its item
// store has no bound and its peer store gives out garbage, so both are ours.
//
// What a stranger says is bounded: nodes taken from one answer, nodes asked in
// one walk, peers believed from one node, the scope of addresses (a node on
// the Internet cannot name loopback or private ones).
//
// # Between two runs
//
// DHTConfig.StateFile keeps node id and routing table. The bootstrap nodes are
// asked at each start all the same: a table of dead nodes looks like a table.
package swarm
