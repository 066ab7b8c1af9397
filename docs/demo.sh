#!/bin/sh
# The main job of gitpeer, from beginning to end, on this machine alone:
#
#   docs/demo.sh [REPOSITORY]        (or: make demo REPO=path)
#
# A DHT of 20 nodes and the nodes of three people run on 127.0.0.1. Alice
# publishes a copy of a real repository, signed with a fresh OpenPGP key. Bob is
# refused until he says whom he trusts, then clones and fetches; what is not
# signed, he refuses. Alice goes offline, and Carol clones from Bob.
#
# Everything is made in a temporary folder, which is removed at the end. The
# status is 0 only if every step did what it should.
set -u

bin=$(cd "$(dirname "$0")/../bin" && pwd) || exit 1
source=$(cd "${1:-$(dirname "$0")/..}" && pwd) || exit 1
PATH=$bin:$PATH
export PATH

fail() { printf '\ngitpeer demo: error: %s\n' "$*" >&2; exit 1; }

command -v gpg >/dev/null || {
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq gnupg
} >&2
command -v gpg >/dev/null || fail "gpg is needed to sign commits; install it (apt-get install gnupg, brew install gnupg)"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/gitpeer-demo.XXXXXX") || exit 1
began=$(date +%s)
table=$tmp/table
dht=

# as PERSON COMMAND...: a command in the shoes of somebody with a home, a gpg
# keyring and a git configuration of their own.
as() {
	who=$1; shift
	HOME=$tmp/$who GITPEER_HOME=$tmp/$who/gitpeer GNUPGHOME=$tmp/$who/gnupg \
		GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=$tmp/$who/.gitconfig GIT_TERMINAL_PROMPT=0 "$@"
}

cleanup() {
	for who in alice bob carol; do
		[ -d "$tmp/$who" ] || continue
		as "$who" gitpeer stop >/dev/null 2>&1
		as "$who" gpgconf --kill all >/dev/null 2>&1
	done
	[ -n "$dht" ] && kill "$dht" 2>/dev/null && wait "$dht" 2>/dev/null
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '  %s$ %s\n' "$1" "$2"; }

# step NAME: everything since the last step was NAME; remember how long it took.
last=$(date +%s%N 2>/dev/null)
case $last in *N) last=$(date +%s)000000000 ;; esac
step() {
	now=$(date +%s%N); case $now in *N) now=$(date +%s)000000000 ;; esac
	printf '  %-62s %6d ms\n' "$1" $(((now - last) / 1000000)) >>"$table"
	last=$now
}

for who in alice bob carol; do
	mkdir -p "$tmp/$who/gnupg" && chmod 700 "$tmp/$who/gnupg"
	as "$who" git config --global user.name "$who" && as "$who" git config --global user.email "$who@example.org"
	as "$who" git config --global init.defaultBranch main
	as "$who" git config --global advice.detachedHead false
done

say "A DHT of 20 nodes, on 127.0.0.1"
gitpeer testnet --nodes 20 >"$tmp/dht.out" 2>"$tmp/dht.err" &
dht=$!
tries=0
until grep -q '^bootstrap ' "$tmp/dht.out"; do
	tries=$((tries + 1))
	[ $tries -le 100 ] && kill -0 "$dht" 2>/dev/null || fail "the DHT did not start: $(cat "$tmp/dht.err")"
	sleep 0.1
done
GITPEER_BOOTSTRAP=$(sed -n 's/^bootstrap //p' "$tmp/dht.out")
GITPEER_LISTEN=127.0.0.1:0
export GITPEER_BOOTSTRAP GITPEER_LISTEN
step "start a DHT of 20 nodes"

say "Alice: a signing key, and a copy of $source"
as alice gpg --batch --quiet --pinentry-mode loopback --passphrase '' --quick-gen-key 'Alice <alice@example.org>' ed25519 sign never 2>/dev/null ||
	fail "gpg could not make a key"
fpr=$(as alice gpg --with-colons --list-keys alice@example.org | sed -n 's/^fpr:::::::::\([0-9A-F]*\):$/\1/p' | head -n 1)
as alice git config --global user.signingKey "$fpr"
if git -C "$source" rev-parse --git-dir >/dev/null 2>&1; then
	as alice git -c safe.directory='*' clone --quiet --no-tags --single-branch "file://$(git -C "$source" rev-parse --path-format=absolute --git-common-dir)" "$tmp/alice/work" ||
		fail "cannot copy $source"
	as alice git -C "$tmp/alice/work" remote remove origin
	as alice git -C "$tmp/alice/work" branch -M main
else
	as alice git init --quiet "$tmp/alice/work" && cp -R "$source"/. "$tmp/alice/work"/ && as alice git -C "$tmp/alice/work" add -A
fi
cd "$tmp/alice/work" || exit 1
echo "Signed by Alice." >SIGNED
as alice git add SIGNED && as alice git commit --quiet -S -m "Vouch for what came before" || fail "cannot sign a commit"
printf '  %s commits, %s objects\n' "$(as alice git rev-list --count HEAD)" "$(as alice git rev-list --objects HEAD | wc -l | tr -d ' ')"
step "make a key and sign a commit on a real history"

say "Alice publishes"
show alice "gitpeer init"
as alice gitpeer init || fail "init"
show alice "gitpeer publish --name tools"
url=$(as alice gitpeer publish --name tools) || fail "publish"
printf '  %s\n' "$url"
step "publish it: pack, seed, sign, store the record"

say "Bob does not know Alice: refused, and told what to type"
show bob "git clone $url"
as bob git clone "$url" "$tmp/bob/tools" 2>"$tmp/refusal" && fail "a clone from an unknown publisher was not refused"
sed 's/^/  /' "$tmp/refusal"
[ -e "$tmp/bob/tools" ] && fail "the refused clone left a folder"
line=$(sed -n 's/.*\(gitpeer trust add gitpeer:.*\)$/\1/p' "$tmp/refusal" | head -n 1)
case $line in *"$fpr"*) ;; *) fail "the refusal does not print the line to type" ;; esac
step "refuse a publisher whom nobody has trusted"

say "Bob compares the fingerprint with what Alice told him, and types it"
show bob "$line"
# shellcheck disable=SC2086 # the line is what a person would type
as bob $line >"$tmp/added" || fail "trust add"
sed 's/^/  /' "$tmp/added"
show bob "git clone $url"
as bob git clone --quiet "$url" "$tmp/bob/tools" || fail "clone"
same() { [ "$(as alice git -C "$tmp/alice/work" rev-parse "$2")" = "$(as "$1" git -C "$tmp/$1/tools" rev-parse "$3")" ]; }
same bob HEAD HEAD || fail "the clone has another HEAD"
as bob git -C "$tmp/bob/tools" fsck --no-progress 2>&1 | grep -v '^dangling' && fail "git fsck complains about the clone"
step "trust Alice's key; clone; git fsck"

say "Alice pushes a signed commit and a signed tag; Bob pulls"
as alice git remote add origin "$url"
echo more >>SIGNED && as alice git commit --quiet -a -S -m "Say more" && as alice git tag -s -m "One" v1.0
show alice "git push origin main v1.0"
as alice git push --quiet origin main v1.0 || fail "push"
step "push a signed commit and a signed tag"
show bob "git pull"
as bob git -C "$tmp/bob/tools" pull --quiet --tags || fail "pull"
same bob HEAD HEAD && same bob v1.0 v1.0 || fail "the pull did not bring the commit and the tag"
step "pull them"

say "Alice pushes a commit that is not signed; Bob refuses it"
echo unsigned >>SIGNED && as alice git commit --quiet -a --no-gpg-sign -m "Forget to sign"
bad=$(as alice git rev-parse HEAD)
as alice git push --quiet origin main || fail "push"
state() { (cd "$tmp/bob/tools/.git" && find . -type f ! -name FETCH_HEAD -exec cksum {} + | sort); }
before=$(state)
show bob "git fetch"
as bob git -C "$tmp/bob/tools" fetch 2>"$tmp/refusal" && fail "an unsigned commit was not refused"
sed 's/^/  /' "$tmp/refusal"
grep -q "$(printf %.12s "$bad")" "$tmp/refusal" || fail "the refusal does not name the commit $bad"
[ "$before" = "$(state)" ] || fail "the refused fetch changed Bob's repository"
step "refuse an unsigned commit, naming it; nothing changed"

say "Alice signs it; Bob fetches"
as alice git commit --quiet --amend -S --no-edit
as alice git push --quiet --force origin main || fail "push --force"
as bob git -C "$tmp/bob/tools" pull --quiet || fail "pull"
same bob HEAD HEAD || fail "the pull did not bring the signed commit"
step "sign it, push, pull"

say "Alice goes offline; Carol clones all the same, from Bob"
show alice "gitpeer stop"
as alice gitpeer stop || fail "stop"
as alice gpg --export --armor "$fpr" >"$tmp/alice.asc"
show carol "gitpeer trust add $url --signer alice.asc"
as carol gitpeer trust add "$url" --signer "$tmp/alice.asc" >/dev/null || fail "trust add"
show carol "git clone $url"
as carol git clone --quiet "$url" "$tmp/carol/tools" || fail "clone without the publisher"
same carol HEAD HEAD && same carol v1.0 v1.0 || fail "the clone is not the same"
step "clone from a reader while the publisher is offline"

say "What happened"
cat "$table"
printf '  %-62s %6d s\n\n' "all of it, every step as it should be" $(($(date +%s) - began))
