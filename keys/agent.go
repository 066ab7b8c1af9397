package keys

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

const (
	// listPatience bounds how long an agent may take to list its keys.
	listPatience = 10 * time.Second
	// signPatience bounds how long it may take to sign: a person may have to
	// confirm (ssh-add -c) or to find a token.
	signPatience = 2 * time.Minute
)

// ErrNotInAgent means that an ssh-agent does not hold the key.
var ErrNotInAgent = errors.New("key is not in the ssh-agent")

// AgentSigner returns a signer that has the ssh-agent behind the unix socket
// (usually the value of SSH_AUTH_SOCK) sign as id. Each signature is made over
// a connection of its own, so that the agent may be restarted in between.
// Errors, of Sign too: ErrNotInAgent, the network's.
func AgentSigner(socket string, id ID) (Signer, error) {
	s := &agentSigner{socket: socket, id: id}
	err := s.do(listPatience, func(agent.ExtendedAgent, ssh.PublicKey) error { return nil })
	if err != nil {
		return nil, err
	}
	return s, nil
}

type agentSigner struct {
	socket string
	id     ID
}

func (s *agentSigner) ID() ID { return s.id }

func (s *agentSigner) Sign(message []byte) (sig []byte, err error) {
	err = s.do(signPatience, func(a agent.ExtendedAgent, public ssh.PublicKey) error {
		made, err := a.Sign(public, message)
		if err != nil {
			return err
		}
		if made.Format != ssh.KeyAlgoED25519 || !s.id.Verify(message, made.Blob) {
			return errors.New("it made an invalid signature")
		}
		sig = made.Blob
		return nil
	})
	return sig, err
}

// do connects to the agent, makes sure that it holds the key, and calls f.
func (s *agentSigner) do(patience time.Duration, f func(agent.ExtendedAgent, ssh.PublicKey) error) error {
	wrap := func(err error) error { return fmt.Errorf("ssh-agent at %q: %w", s.socket, err) }
	conn, err := net.DialTimeout("unix", s.socket, listPatience)
	if err != nil {
		return wrap(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return wrap(err)
	}
	public, err := sshKey(s.id)
	if err != nil {
		return wrap(err)
	}
	client := agent.NewClient(conn)
	held, err := client.List()
	if err != nil {
		return wrap(err)
	}
	for _, k := range held {
		if bytes.Equal(k.Blob, public.Marshal()) {
			if err := f(client, public); err != nil {
				return wrap(err)
			}
			return nil
		}
	}
	return fmt.Errorf("%s: %w", s.id.Short(), ErrNotInAgent)
}
