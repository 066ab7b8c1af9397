// Package packfile reads git packs (gitformat-pack(5)) that come from strangers.
//
// [Scan] counts what is in a pack as it streams by and stops at the first byte
// that breaks a limit. [NewIndex] does what git index-pack does, while the pack
// is still coming in: it inflates every object, resolves the deltas, hashes with
// collision detection, checks as fsck does and that whatever an object names is
// in the pack, on all processors, and writes git's own .idx. git's works
// through the deltas only after the last byte.
//
// # Hints
//
// What it needs for that is to know where entries begin before it has read what
// lies in between. The publisher, who has scanned the pack, tells: a hint is a
// file of
//
//	8 bytes  "gphint", 0, and the version: 1
//	number   how many entries the pack has
//
// and then for each entry, in the order of the pack, two numbers:
//
//	number   its length in bytes, header and all
//	number   how many entries before it its delta base comes; 0 if it is no delta
//
// Numbers are unsigned varints as in protocol buffers, in their shortest form.
// The first entry begins at byte 12, and after the last one only the trailer
// follows. Deltas whose base is named by its object id (REF_DELTA) cannot be
// described; git makes none with --delta-base-offset, but for thin packs.
// A hint has about three bytes an object. What [Entries.Format] does not write,
// [ParseHint] refuses.
//
// # Trust
//
// A hint is not trusted: it could come from the pack itself. Each entry's
// header must name the base that the hint says, at that distance; its stream
// must end, with its checksum, at exactly the byte before the next one; and
// count, header and trailer must be the pack's. So what a hint passes with is
// what reading the pack from the beginning gives. A hint that lies, is missing,
// or of another version costs time: [ErrUnsure].
//
// That is also the answer to everything in a pack that is wrong, and to all that
// is merely unusual. This package never refuses a pack that git would take, nor
// the other way round, for it gives no refusal: the caller then has git
// index-pack read the file, with Scan beside it for the limits, and theirs is the
// word. What it accepts by itself is what git accepts:
//
//   - The inflater is as strict as zlib.
//   - fsck knows the common forms of commits, tags and trees, and of the
//     .gitmodules and .gitattributes in them, and leaves all others to git: names
//     that HFS+ or NTFS might take for .git or a file that git reads, a URL that
//     is not of letters and digits.
//   - One object twice is for git, which refuses it under --strict.
//
// # Cost
//
// Memory does not grow with the pack. Beside a cache of delta bases with a limit,
// there are three tables: where each entry is and how far it has come (table, 20
// bytes an entry), what the .idx will say of it (idxTable, 29 for SHA-1), and what
// is present and what is named (links, 11). They have room for [DefaultEntries],
// and what is beyond is in files without a name; see [Scratch]. The first is in
// pages that come and go, for an entry and its base are mostly near each other;
// the others are only added to, and go to the disk in sorted runs, to be merged at
// the end.
//
// From the hint it is known when a base's last delta has come, so that it is
// dropped then, and which base's next delta is furthest away, so that it makes
// room; it is resolved again when that comes. Workers go down each family of
// deltas as soon as its bytes are there, so that there is little to keep. The
// bytes themselves are read from the file, not mapped.
//
// Blobs that nothing is a delta against are hashed as a stream. Other objects of
// more than half of the cache are for git, and so are packs of more than
// [MaxEntries].
package packfile
