package trust

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// TestMalleability has the rows of TRUST.md §4.3: changes to a signed commit
// that need no key. Git or go-git accept most of them as signed.
func TestMalleability(t *testing.T) {
	w := newWorld(t)
	alice := newPerson(t, "alice")
	w.signer(alice)
	payload := w.payload(day(10), refs.OID(strings.Repeat("1", 40)))
	signature := armored(t, alice.sign([]byte(payload), day(10)))
	good := withSignature(payload, "gpgsig", signature)
	v := &verifier{policy: w.policy(), format: refs.SHA1, now: now}

	start := strings.Index(good, "gpgsig ")
	end := strings.Index(good, "\n\n") + 1
	block := good[start:end]
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	insert := func(at int, text string) string { return good[:at] + text + good[at:] }
	author := strings.Index(good, "author ")

	for _, test := range []struct {
		name, data string
		want       Code
	}{
		{"unchanged", good, OK},
		{"gpgsig-sha256 added", insert(start, "gpgsig-sha256 x\n y\n"), Malformed},
		{"gpgsigfoo added", insert(start, "gpgsigfoo hidden\n"), Malformed},
		{"armor comment", replace("SIGNATURE-----\n", "SIGNATURE-----\n Comment: other\n"), OK},
		{"armor header unknown", replace("SIGNATURE-----\n", "SIGNATURE-----\n Foo: bar\n"), BadSignature},
		{"text after END", replace("-----END PGP SIGNATURE-----\n", "-----END PGP SIGNATURE-----\n evil\n"), BadSignature},
		{"text before BEGIN", replace("gpgsig ", "gpgsig evil\n "), BadSignature},
		{"CR in armor", replace("\n -----END", "\r\n -----END"), Malformed},
		{"gpgsig before author", good[:author] + block + good[author:start] + good[end:], Malformed},
		{"gpgsig twice", insert(start, block), Malformed},
		{"unsigned extra header", insert(start, "x-evil 1\n"), BadSignature},
		{"second tree", insert(start, "tree "+emptyTree+"\n"), Malformed},
		{"second parent after committer", insert(start, "parent "+emptyTree+"\n"), Malformed},
		{"NUL and junk", good + "\x00junk", Malformed},
		{"message changed", good + "more", BadSignature},
		{"message cut", good[:len(good)-1], BadSignature},
		{"another signature's block", withSignature(payload, "gpgsig", signature+signature), BadSignature},
		{"no blank line", good[:end], Malformed},
		{"signature of a different kind", replace("PGP SIGNATURE", "PGP MESSAGE"), BadSignature},
		{"X.509", withSignature(payload, "gpgsig", x509Begin+"\nAAAA\n"), Untrusted},
		{"none", payload, Unsigned},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, a := v.commit([]byte(test.data)); a.code != test.want {
				t.Errorf("code = %v (%s), want %v", a.code, a.why, test.want)
			}
		})
	}
}

// TestCommitGrammar has what fsck lets through (research F7), and limits.
func TestCommitGrammar(t *testing.T) {
	const ident = "A <a@example.org> 1 +0000"
	oid := func(n int) string { return fmt.Sprintf("%040x", n) }
	head := "tree " + oid(1) + "\n"
	who := "author " + ident + "\ncommitter " + ident + "\n"
	parents := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString("parent " + oid(100+i) + "\n")
		}
		return b.String()
	}
	for name, data := range map[string]string{
		"empty":                "",
		"no tree":              who + "\n",
		"upper-case id":        "tree " + strings.Repeat("A", 40) + "\n" + who + "\n",
		"short id":             "tree 1234\n" + who + "\n",
		"id of another format": "tree " + strings.Repeat("1", 64) + "\n" + who + "\n",
		"duplicate parent":     head + "parent " + oid(2) + "\nparent " + oid(2) + "\n" + who + "\n",
		"too many parents":     head + parents(17) + who + "\n",
		"author missing":       head + "committer " + ident + "\n\n",
		"committer twice":      head + who + "committer " + ident + "\n\n",
		"author continued":     head + "author " + ident + "\n more\ncommitter " + ident + "\n\n",
		"CR in header":         head + "author " + ident + "\r\ncommitter " + ident + "\n\n",
		"encoding twice":       head + who + "encoding x\nencoding y\n\n",
		"header without value": head + who + "change-id\n\n",
		"upper-case header":    head + who + "X-Evil 1\n\n",
		"long header name":     head + who + strings.Repeat("x", 33) + " 1\n\n",
		"header of 64 KiB":     head + who + "x " + strings.Repeat("x", maxHeader) + "\n\n",
		"signature in a sha1 repository under the other name": head + who + "gpgsig-sha256 x\n\n",
	} {
		if s, err := splitCommit(refs.SHA1, []byte(data)); err == nil {
			t.Errorf("%s: splitCommit() = %+v, want an error", name, s)
		}
	}
	full := head + parents(16) + who + "encoding ISO-8859-1\nmergetag object " + oid(3) + "\n type commit\n \n text\nchange-id abc\n\nmessage \xe9 without line end"
	s, err := splitCommit(refs.SHA1, []byte(full))
	if err != nil || len(s.parents) != 16 || s.date != 1 || string(s.payload()) != full {
		t.Errorf("splitCommit(full) = %+v, %v, want 16 parents, date 1, the commit as payload", s, err)
	}
}

// TestSignatureInSHA256 shows that the header depends on the object format.
func TestSignatureInSHA256(t *testing.T) {
	w := newWorld(t)
	w.format, w.objects = refs.SHA256, NewMemory(refs.SHA256)
	alice := newPerson(t, "alice")
	w.signer(alice)
	w.repo()
	p := w.policy()
	c := w.commit(alice, day(1))
	w.want(p, nil, w.publish(branch("main", c), w.tag(alice, "v1", day(2), c)), "main", OK)
	payload := w.payload(day(1))
	wrong := w.add(KindCommit, withSignature(payload, "gpgsig", armored(t, alice.sign([]byte(payload), day(1)))))
	w.want(p, nil, w.publish(branch("main", wrong)), "main", Malformed)
}

// TestTagGrammar has tags that are not what they seem.
func TestTagGrammar(t *testing.T) {
	target := strings.Repeat("1", 40)
	head := "object " + target + "\ntype commit\ntag v1\ntagger A <a@b> 1 +0000\n"
	for name, data := range map[string]string{
		"no object":        "type commit\ntag v1\ntagger A <a@b> 1 +0000\n\n",
		"unknown type":     "object " + target + "\ntype branch\ntag v1\n\n",
		"wrong order":      "object " + target + "\ntag v1\ntype commit\n\n",
		"no name":          "object " + target + "\ntype commit\ntag \n\n",
		"two names":        head + "tag v2\n\n",
		"signature header": head + "gpgsig x\n\n",
		"NUL":              head + "\n\x00",
	} {
		if s, err := splitTag(refs.SHA1, []byte(data)); err == nil {
			t.Errorf("%s: splitTag() = %+v, want an error", name, s)
		}
	}
	body := "text\n" + pgpBegin + "\nquoted\n" + pgpEnd + "\nmore\n"
	s, err := splitTag(refs.SHA1, []byte(head+"\n"+body+pgpBegin+"\nlast\n"))
	if err != nil || string(s.before) != head+"\n"+body || string(s.signature) != pgpBegin+"\nlast\n" {
		t.Errorf("splitTag() = %q + %q, %v, want the last marker to begin the signature", s.before, s.signature, err)
	}
}

// TestArmor has the rules 1 of TRUST.md §4.1.
func TestArmor(t *testing.T) {
	sum := fmt.Sprintf("=%s", crcText([]byte{0, 1, 2}))
	block := func(body string) string { return pgpBegin + "\n" + body + pgpEnd + "\n" }
	for name, test := range map[string]struct {
		text string
		ok   bool
	}{
		"plain":                {block("\nAAEC\n"), true},
		"checksum":             {block("\nAAEC\n" + sum + "\n"), true},
		"wrong checksum":       {block("\nAAEC\n=AAAA\n"), false},
		"bad checksum":         {block("\nAAEC\n=XY==\n"), false},
		"version":              {block("Version: GnuPG v1\n\nAAEC\n"), true},
		"charset":              {block("Charset: utf-8\nHash: SHA512\nComment: x\n\nAAEC\n"), true},
		"unknown header":       {block("MessageID: x\n\nAAEC\n"), false},
		"no blank line":        {block("AAEC\n"), false},
		"empty":                {block("\n"), false},
		"no end":               {pgpBegin + "\n\nAAEC\n", false},
		"before":               {"x\n" + block("\nAAEC\n"), false},
		"newline before":       {"\n" + block("\nAAEC\n"), false},
		"after":                {block("\nAAEC\n") + "x", false},
		"newlines after":       {block("\nAAEC\n") + "\n\n", true},
		"space in base64":      {block("\nAA EC\n"), false},
		"foreign character":    {block("\nAA*C\n"), false},
		"padding bits":         {block("\nAAF=\n"), false},
		"padding in between":   {block("\nAA==\nAAEC\n"), false},
		"uneven lines":         {block("\nAAEC\nAAECAAEC\nAAEC\n"), false},
		"two blocks":           {block("\nAAEC\n") + block("\nAAEC\n"), false},
		"16 KiB":               {block("\n" + strings.Repeat(strings.Repeat("A", 64)+"\n", 260)), false},
		"line too long":        {block("\n" + strings.Repeat("A", 80) + "\n"), false},
		"space after END":      {pgpBegin + "\n\nAAEC\n" + pgpEnd + " \n", false},
		"carriage return":      {strings.ReplaceAll(block("\nAAEC\n"), "\n", "\r\n"), false},
		"another kind at end":  {pgpBegin + "\n\nAAEC\n" + sshEnd + "\n", false},
		"blank line in base64": {block("\nAAEC\n\nAAEC\n"), false},
	} {
		raw, err := dearmorPGP([]byte(test.text))
		if (err == nil) != test.ok {
			t.Errorf("%s: dearmorPGP() = %x, %v, want ok %t", name, raw, err, test.ok)
		}
	}
}

func crcText(data []byte) string {
	crc := crc24(data)
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return string([]byte{digits[crc>>18&63], digits[crc>>12&63], digits[crc>>6&63], digits[crc&63]})
}
