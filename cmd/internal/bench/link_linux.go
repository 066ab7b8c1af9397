package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// rehearsal is how long the transfer of the link's own test lasts, and rampUp
// how much of its beginning does not count: TCP starts slowly.
const (
	rehearsal = 6 * time.Second
	rampUp    = time.Second
)

// A rehearsed is what one side of the link's own test says when it is over.
type rehearsed struct {
	BitsPerSecond float64       // of payload, by the reader
	RoundTrip     time.Duration // of an idle link, the median, by the reader
	Segments      int64         // sent, by the sender
	Again         int64         // of them, sent again
}

// link measures the lab itself, by plain TCP: what a link of it carries, how long
// a round trip is, and what the switch costs. Who reads the other tables sees
// here whether the links were what they are called.
func (l *bench) link(ctx context.Context, _ *repository) error {
	for _, k := range []struct {
		name   string
		origin link
	}{{"100mbit-20ms", link{100 * mbit, 100 * mbit}}, {"20mbit-20ms", weakOrigin}} {
		c := config{"link=" + k.name, "by=tcp"}
		for round := range l.rounds {
			if l.has(round, "Link", c) {
				continue
			}
			if err := l.rehearse(ctx, k.origin, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *bench) rehearse(ctx context.Context, origin link, c config) (err error) {
	lab, err := newLab(ctx, oneWay, []link{origin, goodReader})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.close()) }()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from, to := lab.hosts[0], lab.hosts[1]
	addr := net.JoinHostPort(from.Addr, "19400")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, said, err := background(ctx, from, nil, self, "-tcp-send", addr)
	if err != nil {
		return err
	}
	if _, err := said.ReadString('\n'); err != nil {
		return fmt.Errorf("the sender of the link's test: %w", err)
	}
	busy, err := lab.cpu()
	if err != nil {
		return err
	}
	out, err := to.run(ctx, nil, self, "-tcp-receive", addr)
	if err != nil {
		return err
	}
	after, err := lab.cpu()
	if err != nil {
		return err
	}
	var reader, sender rehearsed
	if err := errors.Join(json.Unmarshal([]byte(out.Stdout), &reader), json.NewDecoder(said).Decode(&sender)); err != nil {
		return fmt.Errorf("the link's test: %w", err)
	}
	l.emit(sample{"Link", c, map[string]float64{
		"Mbit/s": reader.BitsPerSecond / mbit, "rtt-ms": reader.RoundTrip.Seconds() * 1000,
		"loss-%": 100 * float64(sender.Again) / float64(max(sender.Segments, 1)), "switch-%": 100 * (after - busy).Seconds() / out.Wall.Seconds(),
	}})
	return nil
}

// sendTCP is the sender of the link's test: it gives each byte back, for round
// trips, and after a zero sends as fast as it may.
func sendTCP(addr string, out io.Writer) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	fmt.Fprintln(out, "ready")
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	for one := []byte{1}; one[0] != 0; {
		if _, err := io.ReadFull(conn, one); err != nil {
			return err
		}
		if _, err := conn.Write(one); err != nil {
			return err
		}
	}
	block := make([]byte, 256<<10)
	for end := time.Now().Add(rehearsal); time.Now().Before(end); {
		if _, err := conn.Write(block); err != nil {
			return err
		}
	}
	info, err := tcpInfo(conn.(*net.TCPConn))
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(rehearsed{Segments: int64(info.Data_segs_out), Again: int64(info.Total_retrans)})
}

func tcpInfo(conn *net.TCPConn) (info *unix.TCPInfo, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	outer := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO) })
	return info, errors.Join(outer, err)
}

// receiveTCP is the reader of the link's test.
func receiveTCP(addr string, out io.Writer) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	var trips []time.Duration
	for i := range 20 {
		begin := time.Now()
		one := []byte{byte(19 - i)} // the last is the zero that the sender waits for
		if _, err := conn.Write(one); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, one); err != nil {
			return err
		}
		trips = append(trips, time.Since(begin))
	}
	slices.Sort(trips)
	result := rehearsed{RoundTrip: trips[len(trips)/2]}
	begin, block := time.Now(), make([]byte, 256<<10)
	var counted, since = int64(0), time.Duration(0)
	for {
		n, err := conn.Read(block)
		passed := time.Since(begin)
		switch {
		case err == io.EOF:
			result.BitsPerSecond = float64(counted) * 8 / (passed - since).Seconds()
			return json.NewEncoder(out).Encode(result)
		case err != nil:
			return err
		case since > 0:
			counted += int64(n)
		case passed > rampUp:
			since = passed
		}
	}
}
