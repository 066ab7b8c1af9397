// Gitpeer publishes git repositories without a server, and says whose commits
// and tags are accepted from there. Fetching and cloning is git's own work,
// through git-remote-gitpeer.
//
//	gitpeer publish                    # sign the refs, seed the packs, put the record into the DHT
//	gitpeer trust add alice.asc        # a person whose commits I accept
//	git clone gitpeer://gp1…/tools     # ordinary git; fetches from trusted keys only
//
// There is one file for each subcommand, with its help beside its code; `gitpeer
// help` prints all of it. What a command does is done by the user's node
// (package node), which a command starts if none runs, or by package trust;
// here, arguments are understood and results printed, by package ui. The exit
// status is from the table of [trust.Code], for all commands, with 2 for a
// command line or configuration that needs attention, 70 for a failure inside
// of gitpeer, 75 for what may work later, and 130 for an interrupt.
//
// # Environment
//
//	GITPEER_HOME=DIR             everything under DIR, instead of the XDG folders
//	GITPEER_BOOTSTRAP=HOST:PORT,…  DHT nodes to ask first, instead of the public ones
//	GITPEER_LISTEN=ADDR:PORT     where the node listens, for UDP and TCP
//	GITPEER_EXE=FILE             the gitpeer program that is started as the node
package main
