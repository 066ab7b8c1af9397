package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// baselines are what a gitpeer sample is compared with, the first that is there.
var baselines = []string{"git", "git-bitmap", "libtorrent"}

// A row is the median of all samples of one configuration.
type row struct {
	Name   string
	Config config
	Values map[string]float64
	Count  int
}

// rows takes the medians, in the order in which the configurations first came.
func rows(samples []sample) []row {
	type gathered struct {
		row
		all map[string][]float64
	}
	byKey := map[string]*gathered{}
	var order []string
	for _, s := range samples {
		key := strings.Join(append([]string{s.Name}, s.Config...), "/")
		g := byKey[key]
		if g == nil {
			g = &gathered{row{Name: s.Name, Config: s.Config, Values: map[string]float64{}}, map[string][]float64{}}
			byKey[key] = g
			order = append(order, key)
		}
		g.Count++
		for unit, value := range s.Values {
			g.all[unit] = append(g.all[unit], value)
		}
	}
	out := make([]row, len(order))
	for i, key := range order {
		g := byKey[key]
		for unit, values := range g.all {
			g.Values[unit] = median(values)
		}
		out[i] = g.row
	}
	return out
}

// baseline finds what a row is compared with.
func baseline(all []row, r row) (row, bool) {
	for _, by := range baselines {
		for _, other := range all {
			if other.Name == r.Name && other.Config.get("by") == by && slices.Equal(other.Config.without("by"), r.Config.without("by")) {
				return other, true
			}
		}
	}
	return row{}, false
}

// find returns the row of a configuration.
func find(all []row, name string, c config) (row, bool) {
	i := slices.IndexFunc(all, func(r row) bool { return r.Name == name && slices.Equal(r.Config, c) })
	if i < 0 {
		return row{}, false
	}
	return all[i], true
}

// reposOf are the repositories of a scenario's rows, in their order.
func reposOf(all []row, name string) []string {
	var out []string
	for _, r := range all {
		if repo := r.Config.get("repo"); r.Name == name && repo != "" && !slices.Contains(out, repo) {
			out = append(out, repo)
		}
	}
	return out
}

// A cloneKind is what is cloned how over what.
type cloneKind struct{ link, mode string }

func cloneKinds() []cloneKind {
	return []cloneKind{{"loopback", "bare"}, {"loopback", "checkout"}, {linkName, "bare"}}
}

// linkName is what a link of 100 Mbit/s with a round trip of 20 ms is called.
const linkName = "100mbit-20ms"

// repacked is a clone of what the publisher has repacked.
const repacked = "gitpeer-repack"

func cloneWays() []string { return []string{"git", "git-bitmap", "gitpeer", repacked} }

// ways are those of cloneWays that are measured: what is repacked is for links.
func (k cloneKind) ways() []string {
	all := cloneWays()
	if k.link != linkName {
		all = all[:len(all)-1]
	}
	return all
}

// missing are the rows that the table wants and that are not there, of
// each repository that a scenario has any row of.
func missing(all []row) []string {
	var out []string
	want := func(name string, c config) {
		if _, ok := find(all, name, c); !ok {
			out = append(out, sample{Name: name, Config: c}.key())
		}
	}
	for _, link := range []string{linkName, "20mbit-20ms"} {
		want("Link", config{"link=" + link, "by=tcp"})
	}
	for _, repo := range reposOf(all, "Clone") {
		for _, kind := range cloneKinds() {
			for _, by := range kind.ways() {
				want("Clone", config{"repo=" + repo, "link=" + kind.link, "mode=" + kind.mode, "by=" + by})
			}
		}
	}
	for _, repo := range reposOf(all, "Crowd") {
		for _, n := range crowds() {
			for _, by := range []string{"gitpeer", "libtorrent", "git-bitmap"} {
				want("Crowd", config{"repo=" + repo, fmt.Sprintf("n=%d", n), "by=" + by})
			}
		}
	}
	for _, repo := range reposOf(all, "Fetch") {
		for _, behind := range behinds() {
			for _, by := range []string{"git", "gitpeer"} {
				want("Fetch", config{"repo=" + repo, fmt.Sprintf("behind=%d", behind), "by=" + by})
			}
		}
	}
	for _, name := range []string{"Clone", "Crowd", "OriginDies", "Fetch", "Publish", "Memory"} {
		if len(reposOf(all, name)) == 0 {
			out = append(out, name)
		}
	}
	return out
}

// writeReport writes the tables and the plots of a file of samples into dir.
func writeReport(raw, dir string) error {
	text, err := os.ReadFile(raw)
	if err != nil {
		return err
	}
	samples, err := parseSamples(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s: %w", raw, err)
	}
	all := rows(samples)
	undrawn, err := plot(all, dir)
	if err != nil {
		return err
	}
	for _, file := range undrawn {
		fmt.Fprintf(os.Stderr, "bench: %s is not drawn: points are missing\n", file)
	}
	return os.WriteFile(filepath.Join(dir, "README.md"), formatReport(all, string(text), undrawn), 0o644)
}

const preface = `# Measurements

Written by ` + "`make bench`" + `; every sample is in [raw.txt](raw.txt) (` + "`benchstat docs/bench/raw.txt`" + ` reads it).
What the figures say, and how to take them again, is in [notes.md](notes.md); where the CPU time goes, in
[profile.md](profile.md). Figures are medians; the units are those of ` + "`cmd/internal/bench/doc.go`" + `.

`

// formatReport is the page of tables.
func formatReport(all []row, raw string, undrawn []string) []byte {
	var b bytes.Buffer
	b.WriteString(preface)
	told := map[string]bool{} // several runs may be in one file
	for line := range strings.Lines(raw) {
		key, value, ok := strings.Cut(line, ": ")
		if ok && !told[line] && !strings.Contains(key, " ") && !strings.HasPrefix(key, "Benchmark") {
			fmt.Fprintf(&b, "* %s: %s", key, value)
			told[line] = true
		}
	}
	for _, plot := range []struct{ file, what string }{
		{"crowd.svg", "Seconds until the last of N readers has its clone"}, {"clone.svg", "Clone times of git daemon and gitpeer"},
	} {
		if !slices.Contains(undrawn, plot.file) {
			fmt.Fprintf(&b, "\n![%s](%s)\n", plot.what, plot.file)
		}
	}
	var names []string
	for _, r := range all {
		if !slices.Contains(names, r.Name) {
			names = append(names, r.Name)
		}
	}
	for _, name := range names {
		formatTable(&b, all, name)
	}
	if absent := missing(all); len(absent) > 0 {
		b.WriteString("\n## Not measured\n\n")
		for _, file := range undrawn {
			fmt.Fprintf(&b, "* %s is not drawn from these samples: points are missing\n", file)
		}
		for _, what := range absent {
			fmt.Fprintf(&b, "* %s\n", what)
		}
	}
	return b.Bytes()
}

// formatTable writes the rows of one scenario.
func formatTable(b *bytes.Buffer, all []row, name string) {
	units := map[string]bool{}
	for _, r := range all {
		if r.Name == name {
			for unit := range r.Values {
				units[unit] = true
			}
		}
	}
	columns := slices.SortedFunc(maps.Keys(units), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	fmt.Fprintf(b, "\n## %s\n\n| what | by | n | %s | time ratio |\n|---|---|--:|%s--:|\n", name, strings.Join(columns, " | "), strings.Repeat("--:|", len(columns)))
	for _, r := range all {
		if r.Name != name {
			continue
		}
		fmt.Fprintf(b, "| %s | %s | %d |", strings.Join(r.Config.without("by"), " "), r.Config.get("by"), r.Count)
		for _, unit := range columns {
			if value, ok := r.Values[unit]; ok {
				fmt.Fprintf(b, " %s |", number(value))
			} else {
				b.WriteString("  |")
			}
		}
		if base, ok := baseline(all, r); ok && base.Values["s"] > 0 {
			fmt.Fprintf(b, " %.2f |\n", r.Values["s"]/base.Values["s"])
		} else {
			b.WriteString("  |\n")
		}
	}
}

// rank puts what matters first: the time, and what is measured in its terms.
func rank(unit string) int {
	first := []string{"s", "×copy", "net-s", "net-×copy", "net-median-s", "copies", "tcp-in-B", "tcp-out-B", "udp-in-B", "udp-out-B", "packs", "Mbit/s"}
	if i := slices.Index(first, unit); i >= 0 {
		return i
	}
	return len(first)
}

// number writes four digits, or a whole number in full.
func number(value float64) string {
	if value >= 10_000 {
		return strconv.FormatFloat(value, 'f', 0, 64)
	}
	return strconv.FormatFloat(value, 'g', 4, 64)
}
