package testnet

// Liars returns the hostile nodes as HOST:PORT, in the order in which they were
// added: a list of bootstrap nodes for somebody who is to meet nobody else.
func (n *Network) Liars() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var addrs []string
	for _, h := range n.hostile {
		addrs = append(addrs, h.addr().String())
	}
	return addrs
}
