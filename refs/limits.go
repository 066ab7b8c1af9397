package refs

// Limits. What breaks one is refused before, or while, it is parsed.
const (
	// MaxSnapshotBytes bounds a snapshot's signed note: 100 000 refs of a
	// usual length need 10 MiB, and a reader holds one in memory.
	MaxSnapshotBytes = 16 << 20
	// MaxAttachedBytes bounds the pack that travels in a snapshot's torrent. A
	// torrent of its own costs five round trips and some 2 KB; in a tenth of a
	// second, five round trips of 20 ms, 5 Mbit/s carry this much.
	MaxAttachedBytes = 64 << 10
	// MaxParcelBytes bounds the file of a snapshot's torrent: the note, which
	// hardly grows if it does not compress, and the pack.
	MaxParcelBytes = MaxSnapshotBytes + 64<<10 + MaxAttachedBytes
	// MaxRefs bounds the refs of a snapshot. The largest public
	// repositories have some tens of thousands.
	MaxRefs = 100_000
	// MaxPacks bounds the packs of a snapshot. The plan needs at most about
	// 40 for each level of 8, and a reader downloads a few of them.
	MaxPacks = 512
	// MaxSigners and MaxSignerBytes bound the certificates of tip signers: as
	// many as a person will look at when meeting a repository, each as large
	// as a certificate that gpg exports minimally ever is.
	MaxSigners     = 32
	MaxSignerBytes = 64 << 10
	// MaxMirrors and MaxMirrorBytes bound the web servers that a snapshot
	// names: a reader asks them all.
	MaxMirrors     = 4
	MaxMirrorBytes = 200
	// MaxPrevious bounds the chain: a reader up to this many publishes
	// behind sees in one snapshot that it continues what the reader pinned.
	MaxPrevious = 64
	// MaxNumber bounds snapshot numbers, so that they are exact wherever
	// JSON numbers are doubles.
	MaxNumber = 1<<53 - 1
	// MaxNameBytes bounds a ref name; file systems stop at 255 bytes.
	MaxNameBytes = 255
	// MaxNameComponents bounds the depth of a ref name: each component is a
	// directory in a store of loose refs.
	MaxNameComponents = 16
	// MaxRepoNameBytes bounds a repository name, so that name plus "/HEAD"
	// stays within the 64 bytes that BEP 44 allows a salt.
	MaxRepoNameBytes = 48
	// MaxRecordBytes bounds a record. BEP 44 allows 1000; this leaves room
	// for token, key, signature and nodes in one unfragmented datagram.
	MaxRecordBytes = 700
	// MaxPeers bounds the peer hints of a record.
	MaxPeers = 16
	// MaxPackBytes and MaxInflatedBytes bound one pack, so that sums over a
	// snapshot cannot overflow; users set lower limits of their own.
	MaxPackBytes     = 1 << 40
	MaxInflatedBytes = 1 << 50
	// MaxObjects is what the four-byte count of a pack header can hold.
	MaxObjects = 1<<32 - 1
	// maxHintHead and maxHintEntry bound a hint, which a reader holds in
	// memory: a few bytes for each object.
	maxHintHead  = 64
	maxHintEntry = 16
	// MinPackBytes is the length of a pack without objects under SHA-1.
	MinPackBytes = 32
)

// maxURLBytes bounds the text of an address: prefix twice, 64 digits, name.
const maxURLBytes = 160

// maxShown is how much of a text from outside an error repeats.
const maxShown = 300

func shown(s string) string {
	if len(s) > maxShown {
		return s[:maxShown]
	}
	return s
}
