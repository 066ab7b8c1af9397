// Package keys holds publisher identities.
//
// A publisher is an Ed25519 key. Its public half, the [ID], is part of every
// address; its private half signs snapshots and the records in the DHT.
//
// # Ids
//
// The text of an id is BIP-173 bech32 with the human-readable part "gp" over
// the 32 bytes of the public key:
//
//	gp1 + 52 characters of key + 6 characters of checksum
//
// The checksum finds every error of up to four characters; 64 hexadecimal
// digits, which have none, are accepted on input. An id that is not the
// canonical encoding of a curve point's y coordinate, or is a point of small
// order (under which anybody can sign), is refused.
package keys
