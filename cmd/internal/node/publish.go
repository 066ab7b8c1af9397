package node

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/gpg"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// A publication is one publish or push under way.
type publication struct {
	node     *Node
	mirror   *mirror
	was      *state // before it; nil at the first publication
	signer   keys.Signer
	work     *gitcmd.Work
	progress ProgressFunc
	keyring  gpg.Keyring // of the user
	mirrors  []refs.Mirror
	repack   bool // see PublishRequest
	history  *history

	looked  *look             // at the current record; nil before
	signers [][]byte          // certificates for first contact
	passed  map[refs.OID]bool // tips that branches have gone on from
}

// A look is a lookup of the current record.
type look struct {
	*announce.Lookup
	ended time.Time
}

// publish publishes refs of a local repository.
func (n *Node) publish(ctx context.Context, req PublishRequest, progress ProgressFunc) (*PublishResult, error) {
	if _, err := os.Stat(req.Dir); err != nil {
		return nil, errorf(trust.Usage, "gitpeer publish DIR    # where the repository is", "%v", err)
	}
	certificates, err := keyring(req.GnupgHome)
	if err != nil {
		return nil, err
	}
	work, err := gitcmd.LocateOwned(ctx, req.Dir)
	if err != nil {
		return nil, err
	}
	name := req.Name
	if name == "" {
		if name, err = defaultName(req.Dir); err != nil {
			return nil, err
		}
	}
	p, end, err := n.beginPublication(ctx, work, name, req.Credentials)
	if err != nil {
		return nil, err
	}
	p.progress = progress
	defer end()
	p.keyring, p.repack = certificates, req.Repack
	chosen, err := p.mirror.chosen(req)
	if err != nil {
		return nil, err
	}
	if p.mirrors, err = n.webMirrors(p.mirror.addr, chosen); err != nil {
		return nil, err
	}
	var known []refs.Ref
	if p.was != nil {
		known = p.was.Snapshot.Refs
	}
	list, err := p.work.RefsSince(ctx, known, chosen.Patterns...)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 && len(req.Patterns) > 0 {
		return nil, errorf(trust.Usage, "git for-each-ref    # lists what there is", "no ref of %s matches %s", req.Dir, strings.Join(req.Patterns, " "))
	}
	branch, err := p.work.Head(ctx)
	if err != nil {
		return nil, err
	}
	head := chooseHead(list, branch)
	if head == "" {
		head = branch // unborn: readers start on the branch that we would
	}
	res, err := p.publish(ctx, list, head)
	if err == nil {
		err = p.mirror.remember(chosen)
	}
	return res, err
}

// push changes some refs of an own repository and publishes the outcome.
func (n *Node) push(ctx context.Context, req PushRequest, progress ProgressFunc) (*PushResult, error) {
	a, _, err := n.address(req.URL)
	if err != nil {
		return nil, err
	}
	if id, ok := n.identity(); ok && id != a.Publisher {
		return nil, errorf(trust.Usage, "git push "+refs.Address{Publisher: id, Name: a.Name}.String(),
			"%s is not yours to publish: your publisher id is %s", a, id)
	}
	certificates, err := keyring(req.GnupgHome)
	if err != nil {
		return nil, err
	}
	work, err := gitcmd.Locate(ctx, req.GitDir)
	if err != nil {
		return nil, err
	}
	p, end, err := n.beginPublication(ctx, work, string(a.Name), req.Credentials)
	if err != nil {
		return nil, err
	}
	p.progress = progress
	defer end()
	p.keyring = certificates
	chosen, err := p.mirror.settings()
	if err != nil {
		return nil, err
	}
	if p.mirrors, err = n.webMirrors(p.mirror.addr, chosen); err != nil {
		return nil, err
	}
	var old *refs.Snapshot
	if p.was != nil {
		old = p.was.Snapshot
	}
	list, results, err := applyUpdates(ctx, p.history, old, &req)
	if err != nil {
		return nil, err
	}
	res := &PushResult{Refs: results}
	changed := slices.ContainsFunc(results, func(r RefResult) bool { return r.Problem == "" })
	if req.DryRun || !changed {
		return res, nil
	}
	var was refs.Name
	if old != nil {
		was = old.Head
	}
	branch, err := p.work.Head(ctx)
	if err != nil {
		return nil, err
	}
	res.Published, err = p.publish(ctx, list, chooseHead(list, was, branch))
	return res, err
}

// settle waits until what was published last is in the DHT: a push may have been
// broken off before its record was put, and then git has nothing left to push.
func (n *Node) settle(ctx context.Context, req SettleRequest, progress ProgressFunc) (*Empty, error) {
	a, _, err := n.address(req.URL)
	if err != nil {
		return nil, err
	}
	progress(Progress{Stage: "Storing the record"})
	return &Empty{}, n.keeper.Settle(ctx, a)
}

// beginPublication checks the work repository, unlocks the key and makes
// the mirror's next operation this one; the caller calls end.
func (n *Node) beginPublication(ctx context.Context, work *gitcmd.Work, name string, c Credentials) (*publication, func(), error) {
	switch {
	case work.Shallow:
		return nil, nil, errorf(trust.Usage, "git fetch --unshallow", "%s is a shallow clone: its history is cut off, so it cannot be published whole", work.Dir)
	case work.Partial:
		return nil, nil, errorf(trust.Usage, "git fetch --refetch --no-filter --tags && git config --unset-all remote.origin.promisor    # makes it whole, and says so",
			"%s is configured as a partial clone: objects may be missing, so it cannot be published whole", work.Dir)
	}
	repoName, err := refs.ParseRepoName(name)
	if err != nil {
		return nil, nil, errorf(trust.Usage, "gitpeer publish --name NAME", "%v", err)
	}
	signer, err := n.signer(c)
	if err != nil {
		return nil, nil, err
	}
	m, err := n.mirror(ctx, refs.Address{Publisher: signer.ID(), Name: repoName})
	if err != nil {
		return nil, nil, err
	}
	end, err := m.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	p := &publication{node: n, mirror: m, was: m.current(), signer: signer, work: work}
	p.history = newHistory(p.objects())
	return p, end, nil
}

// defaultName derives a repository name from a folder's.
func defaultName(dir string) (string, error) {
	base := strings.TrimSuffix(strings.ToLower(filepath.Base(dir)), ".git")
	if base == "" { // DIR/.git
		base = strings.ToLower(filepath.Base(filepath.Dir(dir)))
	}
	base = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' {
			return r
		}
		return '-'
	}, base)
	base = strings.TrimLeft(base, "._-")
	if _, err := refs.ParseRepoName(base); err != nil {
		return "", errorf(trust.Usage, "gitpeer publish --name NAME", "%q does not make a repository name", filepath.Base(dir))
	}
	return base, nil
}

// objects reads old commits from the mirror and new ones from the work
// repository.
func (p *publication) objects() gitcmd.Repo {
	if !p.mirror.repo.Exists() {
		return p.work.Repo
	}
	r := p.mirror.repo
	r.Alternates = []string{p.work.Objects}
	return r
}

// publish makes list, with HEAD at head, what the repository is.
func (p *publication) publish(ctx context.Context, list []refs.Ref, head refs.Name) (*PublishResult, error) {
	res, err := p.tryPublish(ctx, list, head)
	var inUse *announce.InUseError
	if errors.As(err, &inUse) {
		return nil, errorf(trust.Moved, "git ls-remote "+p.mirror.addr.String()+"    # brings what was published there; then publish again", "%v", err)
	}
	return res, err
}

func (p *publication) tryPublish(ctx context.Context, list []refs.Ref, head refs.Name) (*PublishResult, error) {
	if err := checkRefs(list); err != nil {
		return nil, err
	}
	m := p.mirror
	damaged, err := m.damaged()
	if err != nil {
		return nil, err
	}
	if len(damaged) > 0 {
		return nil, errorf(trust.TryLater, "git ls-remote "+m.addr.String()+"    # brings them back from whoever has them",
			"%d packs of the mirror %s are missing or cut off", len(damaged), m.dir)
	}
	was := p.was
	unchanged := was != nil && was.Snapshot.Head == head && slices.Equal(was.Snapshot.Refs, list) && slices.Equal(was.Snapshot.Mirrors, p.mirrors)
	same := unchanged && !p.repack
	if was == nil || same || p.repack { // nothing to do meanwhile, or much that might be in vain
		if err := p.preflight(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case same:
		return p.renew(ctx)
	case was != nil && was.Snapshot.ObjectFormat != p.work.ObjectFormat:
		return nil, errorf(trust.Usage, "gitpeer publish --name OTHER", "%s is a %s repository, %s is %s", m.addr, was.Snapshot.ObjectFormat, p.work.Dir, p.work.ObjectFormat)
	}
	if err := m.create(ctx, p.work.ObjectFormat); err != nil {
		return nil, err
	}
	q, err := m.newQuarantine()
	if err != nil {
		return nil, err
	}
	defer q.remove()
	made, err := p.prepare(ctx, q, list)
	if err != nil {
		return nil, err
	}
	if unchanged && slices.ContainsFunc(made, p.lists) {
		return p.renew(ctx) // to pack it anew was of no use
	}
	return p.release(ctx, q, p.snapshot(list, head, made), made)
}

// lists reports whether the last snapshot lists a pack that stands by itself.
func (p *publication) lists(made *madePack) bool {
	return made.Line.From == 0 && slices.ContainsFunc(p.was.Snapshot.Packs, func(line refs.Pack) bool {
		return line.From == 0 && line.SHA256 == made.Line.SHA256
	})
}

// prepare makes the packs, and does meanwhile what does not need them. Nothing
// of it leaves the quarantine.
func (p *publication) prepare(ctx context.Context, q *quarantine, list []refs.Ref) (made []*madePack, err error) {
	log := p.node.log
	g, ctx := errgroup.WithContext(ctx)
	if p.looked == nil {
		g.Go(guard(log, func() error { return p.preflight(ctx) }))
	}
	g.Go(guard(log, func() error { return p.checkTips(ctx, list) }))
	g.Go(guard(log, func() error { return p.warn(ctx, list) }))
	g.Go(guard(log, func() error {
		p.signers = p.findSigners(ctx, list)
		return nil
	}))
	g.Go(guard(log, func() (err error) {
		made, err = p.makePacks(ctx, q, list)
		return err
	}))
	err = g.Wait() // and only then is made what it will be
	return made, err
}

// checkTips refuses refs that git would not set, of those that were not published
// before.
func (p *publication) checkTips(ctx context.Context, list []refs.Ref) error {
	moved := list
	if p.was != nil {
		moved = slices.DeleteFunc(slices.Clone(list), func(r refs.Ref) bool {
			old, ok := p.was.Snapshot.Lookup(r.Name)
			return ok && old.OID == r.OID
		})
	}
	err := p.objects().CheckTips(ctx, moved)
	var tip *gitcmd.TipError
	if errors.As(err, &tip) {
		return errorf(trust.Usage, "git update-ref -d "+string(tip.Name), "%v", err)
	}
	return err
}

// warn tells of the refs that readers will refuse, and notes which go on.
func (p *publication) warn(ctx context.Context, list []refs.Ref) error {
	if p.was == nil {
		return nil
	}
	notes, passed, err := rewinds(ctx, p.history, p.was.Snapshot.Refs, list)
	p.passed = passed
	for _, note := range notes {
		p.progress(Progress{Note: note, Warning: true})
	}
	return err
}

// findSigners collects certificates for readers' first contact: of who signed
// the tips that are new, then those that the last snapshot has, as the keyring
// has them now: readers must not take a certificate without its revocation.
// One that has outgrown a snapshot is left out, rather than sent as it was.
func (p *publication) findSigners(ctx context.Context, list []refs.Ref) [][]byte {
	var old [][]byte
	published := map[refs.OID]bool{}
	if p.was != nil {
		old = p.was.Snapshot.Signers
		for _, ref := range p.was.Snapshot.Refs {
			published[ref.OID] = true
		}
	}
	fresh := slices.DeleteFunc(tips(list), func(oid refs.OID) bool { return published[oid] })
	old = p.keyring.Refresh(ctx, old)
	var found [][]byte
	if len(fresh) > 0 {
		found = p.keyring.TipSigners(ctx, p.objects(), fresh, old...)
	}
	return mergeSigners(found, old)
}

// preflight looks at the current record before any work is done: a key that is
// in use elsewhere, or no network, is better known now than after a first pack
// of a whole repository; later ones are made meanwhile. announce.Publish looks
// again before it signs, unless it is told of this look: see put.
func (p *publication) preflight(ctx context.Context) error {
	p.progress(Progress{Stage: "Reading the current record"})
	a := p.mirror.addr
	lookup, err := p.node.swarm.DHT().Lookup(ctx, a.Publisher, a.Salt())
	if err != nil {
		return err
	}
	p.looked = &look{lookup, time.Now()}
	var last *announce.Item
	if now := p.mirror.current(); now != nil { // after the look: the keeper may have renewed it
		last = now.Item
	}
	for _, answer := range lookup.Answers {
		if seen := answer.Item; seen != nil && (last == nil || seen.Seq > last.Seq) {
			record, err := refs.ParseRecord(seen.Value)
			if err != nil {
				record = nil // whatever it says, it is newer than ours
			}
			return &announce.InUseError{Last: last, Seen: seen, Record: record}
		}
	}
	return nil
}

// makePacks makes the packs that the plan asks for.
func (p *publication) makePacks(ctx context.Context, q *quarantine, list []refs.Ref) ([]*madePack, error) {
	number, listed := uint64(1), []refs.Pack(nil)
	if p.was != nil {
		number, listed = p.was.Snapshot.Number+1, p.was.Snapshot.Packs
	}
	if len(list) == 0 && len(listed) == 0 {
		return nil, nil // an empty repository has no packs
	}
	maker := &packMaker{mirror: p.mirror, heap: p.node.heap, q: q, objects: []string{p.work.Objects}, format: p.work.ObjectFormat, anew: p.repack, progress: p.progress}
	known := p.bases(number - 1)
	if p.was != nil {
		known[p.was.Snapshot.Number] = tips(p.was.Snapshot.Refs)
	}
	ranges := refs.NextRanges(number, listed)
	if base := (refs.Range{From: 0, To: number}); p.repack && len(list) > 0 && !slices.Contains(ranges, base) {
		ranges = append(ranges, base)
	}
	var made []*madePack
	for _, r := range ranges {
		granted, ok := known[r.From]
		if !ok && r.From > 0 {
			continue // a level that this computer did not see begin: it may come later
		}
		pack, err := maker.make(ctx, r, tips(list), granted)
		if err != nil {
			return nil, err
		}
		made = append(made, pack)
	}
	return made, nil
}

// snapshot is the next snapshot of the repository.
func (p *publication) snapshot(list []refs.Ref, head refs.Name, made []*madePack) *refs.Snapshot {
	s := &refs.Snapshot{
		Repository: p.mirror.addr, Number: 1, Time: time.Now().UTC().Truncate(time.Second),
		ObjectFormat: p.work.ObjectFormat, Head: head, Refs: list, Signers: p.signers,
		Mirrors: p.mirrors,
	}
	var packs []refs.Pack
	if old := p.was; old != nil {
		s.Number = old.Snapshot.Number + 1
		s.Previous = append([]refs.Link{{Number: old.Snapshot.Number, Digest: refs.DigestOf(old.Note)}}, old.Snapshot.Previous...)
		s.Previous = s.Previous[:min(len(s.Previous), refs.MaxPrevious)]
		packs = slices.Clone(old.Snapshot.Packs)
	}
	for _, m := range made {
		packs = append(packs, m.Line)
	}
	s.Packs = refs.Retire(s.Number, packs)
	return s
}

// mergeSigners puts certificates in the order of a snapshot, without repeats and
// without what a snapshot cannot hold. Where they are too many, the first stay.
func mergeSigners(fresh, old [][]byte) [][]byte {
	var all [][]byte
	seen := map[string]bool{}
	for _, signer := range slices.Concat(fresh, old) {
		key := signerKey(signer)
		if len(signer) == 0 || len(signer) > refs.MaxSignerBytes || seen[key] || len(all) == refs.MaxSigners {
			continue
		}
		seen[key] = true
		all = append(all, signer)
	}
	slices.SortFunc(all, bytes.Compare)
	return all
}

// signerKey tells whose a certificate is, or says the SSH key itself.
func signerKey(signer []byte) string {
	if fingerprint := gpg.Fingerprint(signer); fingerprint != "" {
		return fingerprint
	}
	return string(signer)
}

// release signs a snapshot, seeds it, and only then puts its record in the
// DHT. Should that fail, the node holds the new state and goes on trying.
func (p *publication) release(ctx context.Context, q *quarantine, s *refs.Snapshot, made []*madePack) (*PublishResult, error) {
	note, err := refs.Sign(s, p.signer)
	if err != nil {
		return nil, err
	}
	compressed := refs.Compress(note)
	info, err := madeParcel(q, s, compressed, made)
	if err != nil {
		return nil, err
	}
	record := refs.Record{InfoHash: info.InfoHash(), Number: s.Number, Snapshot: refs.DigestOf(note), Peers: p.node.hints(p.mirror.addr)}
	record.Head, _ = s.HeadOID()
	next := &state{Note: note, Snapshot: s, Compressed: compressed}
	files := make([]*packFile, len(made))
	res := &PublishResult{Changed: true}
	for i, m := range made {
		files[i] = m.File
		res.NewBytes += m.Line.Bytes
	}
	var besides sync.WaitGroup
	save := func(item *announce.Item) error {
		next.Item = item
		var err error
		if next.Record, err = refs.ParseRecord(item.Value); err != nil {
			return err
		}
		next.Pins = ownPins(p.mirror.addr, next)
		if err := p.mirror.accept(ctx, next, q, files); err != nil {
			return err
		}
		if err := p.node.seedMade(p.mirror, info.InfoHash()); err != nil {
			return err
		}
		besides.Go(func() { p.tidy(ctx) })
		return nil
	}
	published, err := p.put(ctx, record, save)
	besides.Wait()
	if next.Item != nil { // whatever became of the record, this is our state now
		err = errors.Join(err, p.node.keep(p.mirror))
		p.node.callReaders()
	}
	if err != nil {
		return nil, err
	}
	return p.result(res, published), nil
}

// tidy does what later publications are cheaper for. What it cannot do is no
// reason to say that this one failed, which readers may have already.
func (p *publication) tidy(ctx context.Context) {
	tidy := func() error {
		saved := p.mirror.saveBases(ctx, p.bases(p.mirror.current().Snapshot.Number-1), p.passed)
		return errors.Join(saved, p.mirror.prune())
	}
	if err := guard(p.node.log, tidy)(); err != nil {
		p.node.log.Warn("published, but the mirror is not tidy: later packs may be larger", "repository", p.mirror.addr.String(), "error", err)
	}
}

// bases are those that hold at snapshot number. If they cannot be read there are
// none, as in [mirror.loadBases].
func (p *publication) bases(number uint64) bases {
	b, err := p.mirror.loadBases(number)
	if err != nil {
		p.node.log.Warn("made without what earlier packs began from", "repository", p.mirror.addr.String(), "error", err)
		return bases{}
	}
	return b
}

// renew publishes the same snapshot with a new record.
func (p *publication) renew(ctx context.Context) (*PublishResult, error) {
	renewal, err := announce.Renewal(p.mirror.addr.Name, p.was.Item, p.node.hints(p.mirror.addr))
	if err != nil {
		return nil, err
	}
	published, err := p.put(ctx, renewal.Record, func(item *announce.Item) error { return p.mirror.replaceItem(ctx, item) })
	if err != nil {
		return nil, err
	}
	if err := p.node.seed(p.mirror); err != nil {
		return nil, err
	}
	return p.result(&PublishResult{}, published), nil
}

// lookHolds is how long a look stands for another one before a record is put:
// about what storing the new state may take, which passes after any look.
const lookHolds = 2 * time.Second

// put signs a record and puts it in the DHT.
func (p *publication) put(ctx context.Context, r refs.Record, save func(*announce.Item) error) (*announce.Published, error) {
	p.progress(Progress{Stage: "Storing the record"})
	var last *announce.Item
	if p.was != nil {
		last = p.was.Item
	}
	publication := announce.Publication{Name: p.mirror.addr.Name, Record: r, Last: last, Now: time.Now(), Save: save}
	if time.Since(p.looked.ended) < lookHolds {
		publication.Lookup = p.looked.Lookup
	}
	published, err := p.node.keeper.Publish(ctx, p.signer, publication)
	if err == nil {
		p.progress(Progress{Stage: "Storing the record", Done: int64(published.Stored), Total: int64(published.Of), Unit: "nodes", Over: true})
	}
	return published, err
}

func (p *publication) result(res *PublishResult, published *announce.Published) *PublishResult {
	s := p.mirror.current().Snapshot
	res.URL, res.Seq, res.Number, res.HeadRef = p.mirror.addr.String(), published.Item.Seq, s.Number, s.Head
	res.Head, _ = s.HeadOID()
	res.InfoHash, res.Refs, res.Packs = published.Record.InfoHash, len(s.Refs), len(s.Packs)
	res.Stored, res.Asked, res.Expires = published.Stored, published.Of, published.Record.Expires
	return res
}
