// Package gpg is the one place that runs GnuPG: it takes certificates out of
// the user's keyring, and looks which of several are there.
//
// Nothing is ever written to the keyring, no secret key is touched and nothing
// is fetched from a keyserver. A machine without gpg is one whose keyring is
// empty, except where a person has named a key and must be told why it cannot
// be found.
//
// [Keyring.Export] leaves out what other people have said about a key
// (certifications, which show whom its owner has met) and pictures, and keeps
// every statement of the owner, old ones as well: whether a signature was
// valid when it was made depends on what the owner said then. That is more
// than gpg's export-minimal keeps, and less than its default. [Keyring.Refresh]
// does the same with certificates that were exported before, all in one run.
package gpg
