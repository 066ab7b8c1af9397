// Git-remote-gitpeer is the remote helper that git runs for gitpeer:// URLs,
// gitremote-helpers(7).
//
// It holds no trust, no network and no repository of its own: it asks the node
// for the verified state of a repository, and gives git that and nothing else.
// What it answers depends on what git is about to do:
//
//   - A clone into an empty repository that wants every branch: "connect" is
//     answered with "fallback", and "fetch" hard-links the packs of the mirror
//     with their indexes (or copies them to another file system). Nothing is
//     downloaded, packed or indexed a second time. If git asked for it, the
//     answer says that the history is connected, because the node has checked.
//   - A clone into an empty repository that wants less, such as
//     --single-branch: the same, but "fetch" packs what is wanted.
//   - Anything else (a fetch into a repository that has objects, --depth,
//     --filter, a lazy fetch, a repository without a branch, git archive):
//     "connect" is answered by a git upload-pack on the mirror.
//   - A push: one request to the node for the whole batch.
//
// If the policy refuses anything, nothing is listed and the program ends with
// the exit status of the verdict: a ref that silently stays away would be a
// deletion for a git that prunes.
//
// Standard output carries the protocol and nothing else. What goes there has
// passed the grammar of package refs; what comes from git is bounded, one line
// at a time.
//
// # Environment
//
// Besides the variables that all of gitpeer reads:
//
//	GITPEER_PEERS=ADDRESS:PORT,… peers to ask besides those that are found
//	GITPEER_ALLOW_REWIND=1       accept, this once, refs that went back
//	GITPEER_LOOK=1               look the record up, even if node.fresh in the
//	                             configuration lets the last lookup count
package main
