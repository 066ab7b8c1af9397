// Package swarm is gitpeer's part in BitTorrent swarms and in the Mainline DHT. It is the only
// package that imports anacrolix/torrent and anacrolix/dht, and it treats both as code that a
// stranger's packet can crash.
//
// # Torrents
//
// A [Node] has one TCP and one UDP port. It serves what it is given with [Node.Seed] from an
// [io.ReaderAt], wherever the bytes lie, and brings in a torrent with [Node.Fetch] as a stream of
// verified bytes that follows the download. Who knows peers says so with [Node.AddPeers]; the node
// asks no tracker.
//
// A torrent of gitpeer is described by an [Info]: one file, version 1, four keys, canonically
// encoded. A [Hasher] makes it in one pass over a stream of unknown length.
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
package swarm
