package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/ui"
)

func trustCommand() *command {
	return &command{
		name: "trust", args: "add|remove|list|show|check|log ...", short: "say whose commits you accept",
		long: trustHelp,
		run:  runTrust,
	}
}

const trustHelp = `Changes and shows your policy: whose repositories you fetch, and whose commits
and tags you accept in them. Without an entry, everything is refused.

gitpeer trust add KEY... [--as NAME] [--forge | --forge-any]
    A person whose commits and tags are accepted. KEY is what you have:
        alice.asc, -              an OpenPGP certificate in a file, or on
                                  standard input; or a .pub file of OpenSSH
        0x6D2F..., alice@x.org    one of your gpg keyring: fingerprint, 16-digit
                                  key id or mail address
        "ssh-ed25519 AAAA..."     an SSH key
    --as NAME           what you call them (default: from the user id)
    --forge             it is the key of a service, which signs for everybody
                        who may press its merge button. Such a key counts only
                        where a rule names it, and only on merges whose content
                        is what git makes of their parents
    --forge-any         the same, and it may sign whatever it likes

gitpeer trust add URL|ID [--as NAME] [--signer KEY]... [--mode MODE]
                  [--ref PATTERN] [--intro OID] [--good OID] [--tags any|signed]
                  [--publisher NAME|ID]... [--quorum N] [--publisher-only]
    A repository (gitpeer://ID/NAME) that may be fetched; or, by the ID alone,
    all repositories of a publisher.
    --as NAME           what you call it; a publisher's name can stand for the
                        id in URLs
    --signer KEY        who may write there: a KEY as above, or the NAME of a
                        signer; may be repeated. A fingerprint is also looked
                        for among the certificates that the publisher sends
                        along. Default: every signer that you have added
    --mode MODE         which commits must be signed: all (default), chain
                        (along the first parents), tip
    --ref PATTERN       the refs that --signer and --mode are about, such as
                        refs/heads/main or refs/tags/v*; default: all
    --intro OID         a commit that is taken as it is, with all before it;
                        everything after it is checked
    --good OID          one commit or tag that is taken as it is
    --tags any          accept unsigned tags on accepted commits
    --publisher NAME|ID who else publishes the repository, under the same name;
                        may be repeated
    --quorum N          of the URL's and these publishers, so many must agree:
                        have the same tag, and the same branch at the same
                        commit or a later one. One stolen publisher's key then
                        changes nothing. Default: 1
    --publisher-only    check no commit signatures: whoever has the publisher's
                        key decides

gitpeer trust remove NAME [--retire-at OID | --revoked]
    Removes what has that name, and the rules that end with it.
    --retire-at OID     a signer: keep what they signed up to this commit
    --revoked           a signer: refuse everything they ever signed

gitpeer trust list
gitpeer trust show NAME
    All of the policy, or one entry in full.

gitpeer trust check [FOLDER|REF|A..B]... [--signer KEY]... [--intro COMMIT]
                    [--mode MODE] [--ref REF] [--explain]
    Checks branches and tags of a repository on this disk, without network and
    without a node, so also in CI: all of FOLDER, or a branch, tag, commit or
    range of the repository here. Default: all of the repository here.
        gitpeer trust check main --signer alice.asc --mode all --intro COMMIT
        gitpeer trust check origin/main..HEAD --signer alice.asc
    The rules are those of trust.conf if one of the remotes is a repository in
    it, else every commit since COMMIT is to be signed by one of its signers.
    --signer KEY        by these signers instead: a KEY as above, or a NAME
    --mode MODE         all, chain or tip, instead of what trust.conf says
    --intro COMMIT      taken as it is, with all before it, as A of A..B is.
                        Without one, only what the refs point at is checked
    --ref REF           judge one commit by the rule for REF
    --explain           a line for every commit and tag that is looked at:
                        verdict, id, signer, fingerprint, time, rule, why
    --no-cache          look again at commits that were accepted before by the
                        same rules, and remember nothing; --explain looks again
    --semantics guix --intro COMMIT --signer FINGERPRINT [--keyring REF]
                        by .guix-authorizations, as guix git authenticate does
    --semantics sq-git --intro COMMIT
                        by openpgp-policy.toml, as sq-git does

gitpeer trust check URL|NAME... [--explain] [--no-cache]
    Fetches what was published last, as git fetch would, and prints what the
    policy says of each ref, or of each that it refuses. Outside of repositories
    the default is all of the policy.
    --no-cache          look again at commits that were accepted before

    The exit status is the code of the first refusal: 10 not signed, 11 by
    nobody who may, 12 damaged, 13 at the wrong time, 14 weakly, 15 malformed,
    23 moved, 30 incomplete.

gitpeer trust log [URL|NAME] [--verify]
    What was accepted and refused, oldest first. Each entry is chained to the
    one before; where one was changed or taken out, the exit status is 70.
    --verify            only say whether the chain holds

All of them take --json. The policy is in trust.conf, which may be edited.
`

func runTrust(ctx context.Context, e *env, args []string) error {
	verbs := []struct {
		name string
		run  func(context.Context, *env, []string) error
	}{
		{"add", runTrustAdd}, {"remove", runTrustRemove}, {"list", runTrustList}, {"show", runTrustShow}, {"check", runTrustCheck},
		{"log", runTrustLog},
	}
	if len(args) == 0 {
		return ui.Usagef("trust", "trust: an argument is missing")
	}
	var names []string
	for _, v := range verbs {
		if args[0] == v.name {
			return v.run(ctx, e, args[1:])
		}
		names = append(names, v.name)
	}
	if _, err := newFlags("trust").parse(args[:1], 0, 1); err != nil {
		return err
	}
	return ui.Usagef("trust", "trust %q is none of %s", args[0], strings.Join(names, ", "))
}

// rows prints a table of two columns.
func (e *env) rows(rows [][2]string) {
	for _, row := range rows {
		if row[1] != "" {
			e.ui.Printf("%-12s %s\n", row[0], row[1])
		}
	}
}

// plural formats a count.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
