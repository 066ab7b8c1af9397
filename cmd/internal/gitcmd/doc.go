// Package gitcmd is the one place that runs git.
//
// Every git process runs with an environment and a configuration that nobody
// else has touched: no GIT_* variable of the caller survives, replace refs,
// lazy fetches, hooks, prompts, automatic maintenance and other transports are
// off, and what came from outside is passed as full object ids or behind
// --end-of-options, never through a shell. See TRUST.md §3.2.
//
// [Objects] gives package trust the raw objects that it decides about, out of a
// mirror, its quarantine, or any repository of the user's.
//
// git writes every object and every ref; gitpeer only tells it which. What git
// prints to standard error on failure is carried in [Error], so that a person
// sees git's own words.
package gitcmd
