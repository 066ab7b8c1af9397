// Command bench measures gitpeer beside git daemon and libtorrent, with the
// programs that users run, on repositories that people wrote. `make bench` runs
// it; docs/bench has the last results.
//
//	bench [-rounds N] [-only REGEXP] [-out DIR] -repo NAME=DIR [-repo …]
//
// Each figure is the median of the rounds; within a round what is compared runs
// one after the other, so that a ratio is of one machine at one time. The raw
// samples are written in the Go benchmark format, which benchstat reads.
//
// # Network
//
// Scenarios with links give each person a network namespace of their own (root
// and iproute2 are needed). Rates are token buckets of tc (tbf) on both ends of
// a veth pair. Between the pairs is a switch of our own that holds each frame
// for the link's delay and counts bytes by protocol: not every kernel has netem.
//
// # Units
//
//	s          wall time, from the start of the command to its end
//	cpu-s      user and system time of the command and everything it started,
//	           the reader's node included
//	server-s   the same of what serves: git daemon with its children, or the
//	           publisher's node
//	MB         peak resident memory (VmHWM) of one process, 10⁶ bytes
//	copies     bytes that left the origin's interface ÷ bytes of the pack
//	B          bytes on the reader's interface, both ways, headers included
package main
