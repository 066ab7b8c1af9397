package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/ui"
)

// A command is one subcommand. Its help stands beside its code.
type command struct {
	name  string
	args  string // after the name, in the usage line
	short string // one line, for the overview; "" keeps it out of there
	long  string // what it does and its flags
	run   func(ctx context.Context, e *env, args []string) error
}

// commands lists the subcommands in the order of the overview.
func commands() []*command {
	return []*command{
		initCommand(), idCommand(), publishCommand(), trustCommand(),
		resolveCommand(), showCommand(), statusCommand(), exportCommand(),
		daemonCommand(), stopCommand(), testnetCommand(), versionCommand(), helpCommand(),
	}
}

func find(name string) (*command, bool) {
	all := commands()
	i := slices.IndexFunc(all, func(c *command) bool { return c.name == name })
	if i < 0 {
		return nil, false
	}
	return all[i], true
}

// help is the full help of a command.
func (c *command) help() string {
	return fmt.Sprintf("usage: %s\n\n%s", strings.TrimSpace("gitpeer "+c.name+" "+c.args), c.long)
}

// overview is the help of the program.
func overview() string {
	var b strings.Builder
	b.WriteString("usage: gitpeer COMMAND [ARGUMENTS]\n\nGit hosting without a server.\n\n")
	for _, c := range commands() {
		if c.short != "" {
			fmt.Fprintf(&b, "    %-13s  %s\n", c.name, c.short)
		}
	}
	b.WriteString(`
To fetch, use git:

    git clone gitpeer://ID/NAME

gitpeer help COMMAND says more about one of them.
`)
	return b.String()
}

// A flagSet is the flags of a command. Flags may stand before, between and
// after the other arguments; -- ends them.
type flagSet struct {
	*flag.FlagSet
	topic string
}

func newFlags(topic string) *flagSet {
	f := flag.NewFlagSet(topic, flag.ContinueOnError)
	f.SetOutput(io.Discard) // what is wrong is said by package ui
	f.Usage = func() {}
	return &flagSet{FlagSet: f, topic: topic}
}

// parse parses the arguments and returns those that are not flags: at least
// least and at most most of them.
func (f *flagSet) parse(args []string, least, most int) ([]string, error) {
	var rest []string
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			if err == flag.ErrHelp {
				return nil, err
			}
			return nil, ui.Usagef(f.topic, "%s", strings.Replace(err.Error(), "flag provided but not defined: ", "unknown flag ", 1))
		}
		left := f.Args()
		if used := len(args) - len(left); used > 0 && args[used-1] == "--" {
			rest = append(rest, left...)
			break
		}
		if len(left) > 0 {
			rest, left = append(rest, left[0]), left[1:]
		}
		args = left
	}
	switch {
	case len(rest) < least:
		return nil, ui.Usagef(f.topic, "%s: an argument is missing", f.topic)
	case len(rest) > most:
		return nil, ui.Usagef(f.topic, "%s: one argument too many: %q", f.topic, rest[most])
	}
	return rest, nil
}

// many is the greatest number of arguments, where there is no limit.
const many = 1 << 20

// repeated is a flag that may be given several times.
func (f *flagSet) repeated(name string) *[]string {
	values := new([]string)
	f.Func(name, "", func(value string) error {
		*values = append(*values, value)
		return nil
	})
	return values
}

// json is the flag that asks for one JSON object instead of text.
func (f *flagSet) json() *bool { return f.Bool("json", false, "") }

// progress are the flags that say in which case progress is shown.
func (f *flagSet) progress() func() ui.When {
	quiet := f.Bool("quiet", false, "")
	f.BoolVar(quiet, "q", false, "")
	always := f.Bool("progress", false, "")
	return func() ui.When {
		switch {
		case *quiet:
			return ui.Quiet
		case *always:
			return ui.Always
		}
		return ui.OnTerminal
	}
}

// progressHelp describes the flags of progress.
const progressHelp = `    --progress       show progress even if standard error is no terminal
    --quiet, -q      show neither progress nor notes, only warnings and errors
`

// unknownCommand suggests what may have been meant.
func unknownCommand(name string) error {
	best, least := "", 4 // farther away is something else
	for _, c := range commands() {
		if d := distance(name, c.name); d < least && d < len(c.name) {
			best, least = c.name, d
		}
	}
	err := &ui.UsageError{Message: fmt.Sprintf("%q is not a gitpeer command", name)}
	switch {
	case slices.Contains([]string{"clone", "fetch", "pull", "push", "ls-remote"}, name):
		err.Hint = "git " + name + "    # git does this, on gitpeer:// URLs"
	case best != "":
		err.Hint = "gitpeer " + best
	}
	return err
}

// distance is how many letters have to be inserted, removed or replaced to
// turn a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
