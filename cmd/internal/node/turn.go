package node

import "context"

// One operation at a time works on a mirror.

// begin waits until no other operation works on the mirror. Operations take
// minutes, so the wait ends with ctx; a backfill gives way at once. The keeper
// may replace the record of the same state meanwhile; that takes mu alone.
func (m *mirror) begin(ctx context.Context) (end func(), err error) {
	m.mu.Lock()
	m.waiting++
	if m.giveWay != nil {
		m.giveWay(errGivesWay)
	}
	m.mu.Unlock()
	select {
	case m.op <- struct{}{}:
		end = func() { <-m.op }
	case <-ctx.Done():
		err = ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting--
	if err != nil {
		return nil, err
	}
	if m.unfinished {
		if err := m.reopen(ctx); err != nil {
			end()
			return nil, err
		}
	}
	return end, nil
}

// beginIdle is begin for a backfill: it waits for nobody, and the context that
// it returns ends as soon as somebody waits. ok is false if somebody works on
// the mirror, or wants to, or there is something to finish first.
func (m *mirror) beginIdle(ctx context.Context) (_ context.Context, end func(), ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting > 0 || m.unfinished {
		return nil, nil, false
	}
	select {
	case m.op <- struct{}{}:
	default:
		return nil, nil, false
	}
	ctx, giveWay := context.WithCancelCause(ctx)
	m.giveWay = giveWay
	return ctx, func() {
		m.mu.Lock()
		m.giveWay = nil
		m.mu.Unlock()
		giveWay(nil)
		<-m.op
	}, true
}
