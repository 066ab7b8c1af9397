// Package trust decides whether what a publisher offers is accepted.
//
// It answers the second of gitpeer's two questions. The first, where the refs
// of a repository point, is answered by its publisher, whose Ed25519 key is in
// the URL. The second, who wrote what they point at, is answered here: by the
// OpenPGP and SSH signatures on commits and tags, held against a policy that
// only the reader writes. Stealing the publisher's key alone gives silence or
// staleness; stealing a signer's key alone gives nothing that any publisher
// lists.
//
// # Use
//
//	policy, err := trust.Load(configDir)
//	err = trust.CheckRecord(policy, pins, received, now)         // before the snapshot is fetched
//	snapshot, err := trust.CheckSnapshot(pins, received, note)   // before a pack is fetched
//	decision := trust.Decide(policy, pins, snapshot, objects, now, witnesses...)
//	accepted, err := decision.Accept()                           // one refused ref refuses all
//	newPins := accepted.Pins(received)                           // written after the refs moved
//
// Accepted is the only value from which refs may be installed or shown to git,
// and Accept is the only way to it, so that a forgotten check does not compile.
//
// # Guarantees
//
// Default deny, fail closed: an unknown publisher, signer, key of trust.conf,
// object header or kind of signature refuses; so do a tie between rules, an
// unmatched ref, and a panic of the verifier (code 70).
//
// The policy is local. Nothing that was fetched can change it.
//
// Decide is a pure function of policy, pins, snapshot, objects and time. It
// hashes every object it uses, with detection of the known attacks on SHA-1,
// and follows ancestry only over the bytes it hashed. What the object store
// says about order and reachability is a hint that makes it fast.
//
// Signatures are checked over the stored bytes of an object, which must be
// within a grammar that no two readers read differently: no repeated or
// misplaced headers, one signature, no other header that git would leave out
// of what is signed.
//
// # Modes
//
// A rule says for a pattern of refs which signers may write them, and what has
// to be signed:
//
//   - all (the default): every commit that the ref reaches beyond the
//     introduction, on both sides of each merge; and no new roots.
//   - chain: the commits on the first-parent path since the introduction. What
//     they merge is vouched for by who merged it.
//   - tip: the commit or tag that the ref points at.
//   - publisher: nothing; the publisher's word is taken, and that is said.
//
// The introduction is a commit that is taken as given with everything before
// it. trust.conf may name it. Otherwise the first tips that are accepted, each
// signed by a listed signer, become the introduction and are pinned.
//
// Tags are annotated and signed, call themselves by their ref's name, lead to a
// commit that the mode accepts, and never change. In mode tip, and at first
// contact, the signed tag is the signed tip: its target need not be signed.
//
// # Quorum
//
// A [repo] may list publishers besides the URL's own, and a rule may ask that k
// of them agree (quorum = k). Any of them may propose a snapshot: whoever is
// named by the URL that is fetched. Each ref under the rule is then accepted
// only if k publishers say so, the proposing one included:
//
//   - of a branch, if its own branch of that name is at that commit or at a
//     descendant of it;
//   - of a tag, if it lists the same tag object with the same target.
//
// Each key has one voice, however often it is listed or heard. Fewer voices
// refuse with NoQuorum, which says who agrees, who has something else, and who
// could not be heard.
//
// What the others say comes to Decide as witnesses: their snapshots, checked by
// CheckRecord and CheckSnapshot against pins that are each publisher's own. One
// who is offline, whose record has expired or fell back, or who equivocates,
// has no voice and is named in a notice; it blocks nobody as long as k are
// left. Ancestry is decided over the commits themselves, as everywhere; the
// witnesses' signers are not asked, for a publisher speaks by its own key.
//
// A ref that is pinned as it is keeps the quorum that it had when it was
// accepted. The pin holds as long as the rule and the list of publishers do.
//
// So a thief of fewer than k publishers' keys can add nothing to a branch, not
// even what signers did sign, and create no tag. It can still be silent, and
// who holds so many keys that fewer than k others are left can stop the rest.
//
// # Time
//
// A signature's time t is that of its hashed area. It is at most 15 minutes in
// the future, and the key and its certificate were valid at t. They were also
// valid 24 hours before the latest signature in the history that it follows:
// once a branch holds a commit later than a key's expiry, that key signs no
// descendant, whatever time it claims. A key revoked softly (superseded,
// retired) keeps what it signed before, in both senses; one revoked hard (no
// reason, compromise) keeps only ancestors of a checkpoint that trust.conf
// names, and what it lists as good. retired-at limits a signer to a commit and
// its ancestors, needs no clock, and is the way to remove a person whose SSH
// signatures carry no time.
//
// # Who may attack, and what is left
//
// A DHT node or peer can lie, replay and withhold. Lies fail on signatures and
// hashes; replays on the pinned seq, number and digest; withholding becomes
// visible when the record expires, and not before.
//
// A publisher, or a thief of its key, can show different readers different
// valid snapshots as long as they do not compare, can point a branch at any
// descendant that signers signed, and can stay silent. It cannot add a commit
// under all, move a tag, or go back, not even by leaving a branch out for a
// while; under a quorum it can only stay silent.
//
// A signer can write whatever the rules let them write, and backdate within a
// day of the history they build on, or to any time on a branch that starts
// from an old commit. A thief of a signer's key can do the same until the
// reader's copy of the certificate is updated, or retired-at is set.
//
// A forge (a signer with forge = true, or a key of GitHub's) signs what people do
// on its web pages. It is named as such wherever it is shown, is never a default,
// and may sign nothing but merges of two commits whose tree is the one that git
// makes of them: in mode all it can so add nothing that a signer did not write.
// In modes chain and tip it vouches for what it merges. forge-merges-only = false
// gives it the rights of a signer.
//
// Not defended: first contact with a hostile publisher that the user tells
// gitpeer to trust; another process of the same user; unknown attacks on
// SHA-1 by a committer; bugs of git when it checks out what was accepted. What
// a signature is on is shown to be authentic, not to be good. A verdict is on
// what the refs reach: a pack may hold further commits, signed by nobody, that
// no ref reaches, and git gives them to whoever asks for them by their ids.
// Take no id from a publisher whom you would not take a commit from.
package trust
