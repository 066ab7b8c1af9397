// Package keys holds publisher identities, and reads the certificates of
// signers.
//
// A publisher is an Ed25519 key (RFC 8032). Its public half, the [ID], is part
// of every address; with its private half a [Signer] signs snapshots and the
// records in the DHT. Whoever holds the private half decides where the refs of
// the publisher's repositories point; it says nothing about who wrote what.
//
// # Ids
//
// The text of an id is BIP-173 bech32 with the human-readable part "gp" over
// the 32 bytes of the public key, 61 characters:
//
//	gp1 + 52 characters of key + 6 characters of checksum
//
// The checksum finds every error of up to four characters. All upper case is
// accepted on input, and so are 64 hexadecimal digits, which have no checksum.
// A key that is not a canonical field element, or a point of small order
// (under which anybody can sign), is refused. testdata/ids.txt has vectors,
// each failure with its class.
//
// # Private keys
//
// They lie where SSH keys lie and look like them: OpenSSH private key files
// (openssh/PROTOCOL.key) of type ssh-ed25519, made by [Generate] or by
// ssh-keygen, with or without a passphrase, read by [Load]; or in an ssh-agent,
// used through [AgentSigner]. [ReadPublic] needs neither passphrase nor agent.
// A file that others than its owner may read or write is refused, and none is
// ever overwritten.
//
// A key that also logs in by SSH signs other things here than there: what SSH
// has signed begins with the length of a session id or with SSHSIG, a snapshot
// with "gitpeer-snapshot v1", a DHT item with "4:salt". None can be taken for
// another.
//
// # Signers
//
// Those who sign commits and tags are known by an OpenPGP [Certificate] or an
// [SSHKey]. This package reads both, strictly and bounded, and says which key
// was valid when; whom to trust for what is the affair of package trust.
//
// # What it does not do
//
// It never writes a private key anywhere but into the file named, asks nobody
// but the [Passphrase] it is given, and starts no agent.
package keys
