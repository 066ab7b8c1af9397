// Package ui is the one place that prints, for both programs.
//
// # Terminal manners
//
// Results go to standard output, and nothing else does. What is meant for a
// person goes to standard error. A script may throw standard error away.
//
// Nothing is said on success that was not asked for. Progress is shown as git
// shows it, one line that is written over itself, and only while standard error
// is a terminal; with --progress elsewhere, each stage leaves its last line.
//
// An error is one line, and what to do about it another:
//
//	gitpeer: error: the publisher gp1… is not trusted
//	hint: gitpeer trust add gitpeer://gp1…/tools --signer 6D2F…
//
// A hint is a command that can be typed, or the one sentence that says why
// there is none. "error:" ends the program; "warning:" does not.
//
// Everything that a stranger may have chosen (names, user ids, messages of
// peers and of git) is shown through [keys.Printable]: no escape sequence, no
// control character and no character that reorders its neighbours reaches the
// terminal, and none of it can begin a line. All functions here do so with
// their arguments; only format strings, which are ours, are printed as they
// are. JSON is escaped to the same effect.
//
// Nothing asks a question when standard input is not a terminal. The remote
// helper, whose standard input belongs to git, asks for a passphrase on the
// controlling terminal, as git does for passwords, and only if standard error
// is a terminal and GIT_TERMINAL_PROMPT is not 0.
//
// No colour, no bell, no cursor movement but carriage return, no emoji.
//
// # Exit status
//
// [Code] has the one table of exit codes, the same for all programs.
package ui
