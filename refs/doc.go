// Package refs is the format of what a publisher signs. This comment specifies
// it, for any implementation: addresses and names, the snapshot, the record,
// and the pack plan. Vectors lie in testdata, each refused one with the class
// of its failure. The package reads and writes bytes only; it knows no files,
// network or clock.
//
// MUST is what a reader checks and a writer therefore obeys. All text is UTF-8,
// all numbers are decimal without sign or leading zeros and at most 2^53−1, all
// hexadecimal digits are lower case, and a line ends with one LF.
//
// # Addresses
//
// A repository is named by its publisher, an Ed25519 key, and a name:
//
//	address = "gitpeer://" id "/" name
//	id      = bech32 (BIP-173) of the 32-byte key, human-readable part "gp"
//	name    = 1 to 48 of a-z 0-9 "." "_" "-", the first a letter or digit
//
// On input, "gitpeer::" may stand before the address or in place of
// "gitpeer://", and 64 hexadecimal digits in place of the id. Users, ports,
// queries, fragments, escapes and anything nested are refused.
//
// The salt of a repository's DHT item (BEP 44) is the name and "/HEAD"; its
// target is the SHA-1 of key and salt. See package announce.
//
// # Ref names
//
// A ref name MUST start with refs/heads/ or refs/tags/ and pass
// git-check-ref-format(1): no component is empty, starts with "." or ends with
// ".lock"; nowhere is "..", "@{", or one of ~ ^ : ? * [ \; the last character is
// no ".". Beyond git's rules:
//
//   - at most 255 bytes and 16 components;
//   - what follows refs/heads/ or refs/tags/ is not HEAD and does not start
//     with "-";
//   - ".lock" and HEAD are meant in any case of letters;
//   - it is UTF-8 without controls, spaces, and characters that show nothing
//     or change how others show: none up to U+0020, and none of
//
// these, which are listed, rather than taken from a version of Unicode, so that
// every implementation accepts the same names for ever:
//
//	U+007F–U+00A0 U+00AD U+034F U+061C U+115F–U+1160 U+1680 U+17B4–U+17B5
//	U+180B–U+180F U+2000–U+200F U+2028–U+202F U+205F–U+206F U+2800 U+3000
//	U+3164 U+D800–U+F8FF U+FDD0–U+FDEF U+FE00–U+FE0F U+FEFF U+FFA0
//	U+FFF0–U+FFFF U+13430–U+1343F U+1BCA0–U+1BCA3 U+1D173–U+1D17A
//	U+1FFFE–U+1FFFF U+2FFFE–U+2FFFF and all from U+3FFFE on
//
// Two names of one snapshot MUST NOT be the same on a file system that ignores
// case and normalises Unicode (they are compared after NFD, simple case folding
// and NFC), nor may one name be a directory of another: a and a/b. An unborn
// HEAD counts as a name here.
//
// # Snapshot
//
// A snapshot says where all refs of a repository point at one publication:
//
//	gitpeer-snapshot v1
//	repository <address>
//	number <number>
//	time <YYYY>-<MM>-<DD>T<hh>:<mm>:<ss>Z
//	previous <number> <digest>
//	object-format sha1
//	head <name>
//	ref <oid> <name>
//	ref <oid> <name> <peeled oid>
//	pack <infohash> <digest> <bytes> <objects> <inflated bytes> <from> <to>
//	pack <infohash> <digest> <bytes> <objects> <inflated bytes> <from> <to> <hint infohash> <hint bytes>
//	signer <certificate in base64>
//	mirror <address>
//
// The lines come in this order, fields are separated by one space, and a text
// that is not exactly what its own contents format to MUST be refused.
//
// The first line names the version. A reader refuses any but 1 ([ErrVersion]).
//
// number is 1 at the first publication and one more at each further one.
//
// time is when it was signed, in UTC, within the years 1970 to 9999 (and after
// the first second of them).
//
// previous is there 0 to 64 times: the first has number−1, each further one a
// number one less. The digest is the SHA-256 of that snapshot's signed note.
// At least one is there unless number is 1. A publisher lists all it knows; a
// reader whose pinned number lies within the list checks the digest it pinned.
//
// object-format is sha1 or sha256 and sets the length of the object ids: 40 or
// 64 digits.
//
// head is there at most once, and names the branch that HEAD is; if no ref line
// has the name, HEAD is unborn.
//
// ref is there once for each branch and tag, sorted by the bytes of the name.
// No object id is all zeros. The peeled id is that of the object, no tag, that
// an annotated tag leads to in the end; only names under refs/tags/ have one.
//
// pack is there once for each pack, sorted by from, then to; no two have the
// same range. bytes is the length of the file, at least 32; objects the count
// in its header; inflated bytes the sum, over all entries, of the size of the
// object that the entry yields (of a delta, the size of the result that it
// states). One file may serve more than one range, then with all else equal.
// 0 ≤ from < to ≤ number. A pack may have a hint, a file in a torrent of its own
// that tells where the pack's entries lie, so that a reader can index it while it
// comes in; hint bytes is the length of that file, at least 1 and at most 64 and
// 16 for each object. A hint is never trusted: what it says shows in the pack. Its
// format is the node's affair (package packfile), and a reader that does not know
// it does without.
//
// signer is there once for each certificate that the publisher has of those who
// signed the tips, sorted by its bytes: a binary OpenPGP certificate (RFC 9580
// §10.1) or an SSH public key in wire format (RFC 4253 §6.6). It is a hint for
// first contact, so that a reader can show whose signatures it met, and grants
// nothing: only the reader's own policy does. At most 32, each of 1 to 65536
// bytes, in canonical base64.
//
// mirror is there at most 4 times, sorted: the address of a folder on a web
// server, http or https, as [ParseMirror] defines it, that ends in a slash. For
// a torrent with infohash ih, in 40 digits, the folder may have its file as
// <ih>, and its info dictionary in the torrent file <ih>.torrent (BEP 3). It is
// a hint, from a publisher whom the reader may not trust, to connect somewhere:
// a reader MUST NOT follow it to loopback, private or link-local addresses, nor
// anywhere for more than the two files.
//
// # Signed note
//
// A snapshot travels as a C2SP signed note (golang.org/x/mod/sumdb/note): the
// text, an empty line, and exactly one signature line
//
//	— <id> <base64 of: 4 bytes of key hash, 64 bytes of signature>
//
// The key name is the publisher's id, the signature is Ed25519 over the text,
// and the key hash is the first 4 bytes of SHA-256(id ‖ LF ‖ 0x01 ‖ key). The
// base64 is canonical. A reader verifies the signature before it parses the
// text, and MUST then find its own address in the repository line: the same
// publisher's snapshot of another repository is a replay.
//
// The digest of a snapshot is the SHA-256 of the whole note, signature
// included. Ed25519 is deterministic, so that signing twice yields one note;
// a publisher still keeps the note it made, and never signs two texts with one
// number.
//
// # Snapshot torrent
//
// The torrent of a snapshot has one file: the note as one gzip member (RFC
// 1952), and right behind it, if the snapshot lists a pack with range
// (number−1, number] of at most 65536 bytes, that pack ([Snapshot.Attached]).
// So a reader that is one publication behind needs no second torrent.
//
// The digest in the record is that of the note alone. What follows the note is
// worth nothing until it has the length and the SHA-256 of its pack line, and
// then is that pack; if it is missing or something else, the pack is fetched by
// its own infohash, like all others.
//
// Compressors differ. A publisher compresses once; everybody else keeps and
// seeds the bytes that came, so that all have the infohash of the record.
//
// # Record
//
// A record says which snapshot is the current one. It is the value of the
// repository's DHT item, a bencoded dictionary (BEP 3), canonical as package
// bencode defines it, of at most 700 bytes:
//
//	e   expiry, Unix seconds, later than t
//	h   object id that HEAD leads to, 20 or 32 bytes; absent while HEAD is unborn
//	ih  infohash of the snapshot's torrent, 20 bytes
//	n   number of the snapshot
//	p   1 to 16 addresses of peers, or absent: 4 or 16 bytes and a port, big-endian
//	s   digest of the snapshot, 32 bytes
//	t   time of signing, Unix seconds
//	v   version, 1
//
// A reader first looks at v and refuses any but 1 ([ErrVersion]); with v = 1,
// any other key, a missing one, or a value of another type or length is
// refused. Times are 1 to 253402300799. BEP 46 clients read ih alone.
//
// Peers are hints. None is listed twice, has port 0 or a multicast, broadcast,
// unspecified or IPv4-mapped address. A writer leaves out those it may not
// write, those beyond 16, and those at the end that would make the record too
// long.
//
// # Packs
//
// A pack is a git pack file, version 2 (gitformat-pack(5)), whose trailer is
// the hash of the object format. Its torrent (BEP 3) has the one file.
//
// A pack with range (from, to] brings a reader that holds the objects of any
// one snapshot k, from ≤ k < to, to those of snapshot to. The objects of a
// snapshot are all that its refs reach. In other words, with C the objects that
// every snapshot from, from+1, … to−1 has:
//
//   - it contains each object of snapshot to that is not in C;
//   - its deltas refer to objects in C and in the pack itself only.
//
// As long as refs only move forward, C is what snapshot from has. After a ref
// was rewound or deleted, C is less; a reader that came later never saw what
// the ref had before, so that neither the negative tips of pack-objects nor the
// bases of its thin deltas may come from there. A publisher keeps, for each
// from that it may need, the tips of snapshot from, and at each publication
// drops from them those that the new snapshot no longer reaches: what remains
// are the negative tips ([Bases]).
//
// From 0 is a base: C is empty, and the pack complete in itself.
//
// # Pack plan
//
// The plan is the publisher's affair: a reader follows any list of packs. It
// takes the way from what it holds to number with the fewest bytes, of those
// the one with the fewest packs ([Cover], to whose bytes it may add what one more
// torrent costs); a reader that holds snapshot k may
// use each pack with from ≤ k < to, so that a base serves everybody, and
// indexes them in order.
//
// What a publication makes ([NextRanges]):
//
//   - (n−1, n], level 0;
//   - for each j ≥ 1 with 8^j | n, level j: (n−8^j, n], but not from before the
//     oldest snapshot that the list still leads on from (which is not 0: a
//     level must not become a base unasked);
//   - a base (0, n], if there is none, or if the increments that lead from the
//     newest base to n−1 have more than half its bytes.
//
// All but level 0 and a first base may be left out or come later.
//
// What leaves the list ([Retire]), which is never less than a cover for every
// reader:
//
//   - a pack inside the range of another, no base, when at least as many bytes
//     follow the other as it has itself: a reader inside that range, who takes
//     the whole for a part, then downloads at most twice what it needs. Bytes
//     are counted, rather than publications, so that nobody has to download
//     again the one large publication among small ones that it already has;
//     but once four times as many publications follow as the other spans, the
//     pack leaves all the same, so that the list stays short.
//
// Bases stay. Each is half as large again as the one before, so that there are
// few; and a reader who cloned an old one and followed holds it and every pack
// since, but not the bases made meanwhile: if the list did not have that way any
// more, only the publisher could serve a newcomer.
//
// This keeps some 12 packs a level, and at most 40, and no reader needs more
// than about 8 a level.
//
// Whoever takes each publication as it comes never has need of levels 1 and up;
// but once one stands for the packs that it took, only those who have it can
// serve whoever comes later. So a mirror that serves others SHOULD fetch, when
// it has nothing else to do, the increments with to past its oldest base that it
// does not hold. Bases it need not: with the one that it has, and a way on from
// there, it serves everybody. A level has each publication in one pack only, and
// that is about as large as those it stands for: so this costs a follower about
// what it has fetched once more for each level, and there are log8 of the number
// of publications that it followed: one from 8 on, two from 64, three from 512.
// Whoever clones at the newest base has none of these to fetch.
//
// # Limits
//
// They are the exported constants, with their reasons. What breaks one is
// refused with a [*LimitError] before it is parsed, or, for what is counted,
// before more of it is.
package refs
