// Command bench measures gitpeer beside git daemon and libtorrent, with the
// programs that users run, on repositories that people wrote. `make bench` runs
// it; docs/bench has the last results, and its notes.md what they say.
//
//	bench [-rounds N] [-only REGEXP] [-resume] [-out DIR] [-stage DIR] [-behind N] -repo NAME=DIR [-repo …]
//
// Each figure is the median of the rounds; within a round what is compared runs
// one after the other, so that a ratio is of one machine at one time. The raw
// samples are written in the Go benchmark format, which benchstat reads, each as
// soon as it is taken: a run that was broken off is continued by -resume, which
// takes no sample again that raw.txt has. Samples of another program, or of another
// machine, are not told apart: begin with no raw.txt. -only matches SCENARIO/REPO.
//
//	Link        the lab itself, by plain TCP
//	Clone       one reader, one seeder, loopback; libtorrent moves the pack alone
//	LinkClone   the same over 100 Mbit/s, 20 ms; and once more after publish --repack
//	Crowd       1, 5, 10 and 20 readers at once, an origin with 20 Mbit/s up
//	SlowCrowd   twenty on links five times slower, where the CPUs of one machine keep up
//	OriginDies  ten of them; the origin is killed when one has the whole pack, and
//	            each clone must have all refs and pass git fsck
//	Fetch       1, 10, … publications behind, and then none (FetchNothing)
//	Publish     everything, and then single commits
//	Memory      of each process, in its role
//	Profile     no samples: profile.md
//
// # Network
//
// Scenarios with links give each person a network namespace of their own (root
// and iproute2 are needed). Rates are token buckets of tc (tbf) on both ends of
// a veth pair, with a queue of a tenth of a second. Between the pairs is a switch
// of our own that holds each frame for the link's delay and counts bytes by
// protocol: not every kernel has netem. It runs before all other programs, on one
// thread, and Link says what it takes. TCP is cubic, whatever the kernel prefers.
//
// # Units
//
//	s             wall time, from the start of the command to its end; of a crowd,
//	              until the last reader has finished
//	×copy         s in times of bytes of the pack ÷ rate of the origin's uplink
//	net-s         until the last reader had 99 % of all payload that it received:
//	              what the network did, where s has what the CPU did, too
//	net-median-s  the same of the median reader
//	net-×copy     net-s as ×copy
//	copies        payload that left the origin's interface (of TCP, and of datagrams
//	              as large as uTP's) ÷ bytes of the packs
//	killed-s, killed-copies
//	              when the origin was killed, and what had left it then
//	whole         clones with all refs and objects
//	cpu-s         user and system time of the command and everything it started,
//	              the readers' nodes included
//	server-s      the same of what serves: git daemon with its children, or the
//	              publisher's node
//	cpu-s/GB, server-s/GB
//	              the same for 10⁹ bytes of packs
//	MB, server-MB peak resident memory (VmHWM) of one process, 10⁶ bytes
//	tcp-in-B, tcp-out-B, udp-in-B, udp-out-B
//	              bytes of frames on the reader's interface, headers included
//	packs         that the reader's mirror has got
//	own-s         s less the time of git's pack-objects
//	Mbit/s        10⁶ bits of payload a second, after the first second
//	rtt-ms        the median round trip of an idle link
//	loss-%        segments that TCP sent again
//	switch-%      of one CPU: the switch, and what of TCP the kernel does in its time
package main
