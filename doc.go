// Package gitpeer is the root of a module that hosts git repositories without a
// server. It holds no code.
//
// A publisher signs where the refs of a repository point. The Mainline DHT
// holds that signed record, a BitTorrent swarm carries the packs, and a reader
// accepts nothing until the commits and tags inside are signed by people it
// trusts.
//
// # Map
//
// A package imports only packages of floors below its own; a test in this
// package parses the imports and fails on any other arrow.
//
//	floor 4  cmd/gitpeer             the command
//	         cmd/git-remote-gitpeer  what git runs for gitpeer:// URLs
//	         cmd/internal/bench      measures the programs beside git daemon and libtorrent
//	         cmd/internal/ui         the one that prints
//	         cmd/internal/node       the process that owns network and store
//	         cmd/internal/gpg        keys out of the user's gpg keyring
//	         cmd/internal/packfile   scans and indexes packs while they come in; the hint format
//	         cmd/internal/gitcmd     the one that runs git, and reads objects for trust
//	floor 3  swarm                   DHT node and torrent client; the one that knows anacrolix
//	         testnet                 real DHT nodes on an in-memory network
//	floor 2  announce                publish and resolve records; the DHT mapping
//	         announce/dhttest        tests that every DHT implementation passes
//	         trust                   policy and verdicts; the threat model
//	floor 1  refs                    snapshots, records, pack plan; the format specification
//	         refs/bencode            the strict reader of what strangers send
//	floor 0  keys                    publisher identities, signers' certificates
//	         keys/durable            files that are replaced as a whole
//
// On floor 4 each package may import those below it in this list, but not one
// command another; on floor 3 testnet imports swarm; on floor 2 dhttest imports
// announce; refs imports refs/bencode, keys keys/durable. Only tests and the subcommand gitpeer
// testnet import testnet, and only tests import dhttest.
package gitpeer
