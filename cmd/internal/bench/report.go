package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
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

// writeReport writes the table and the plots of a file of samples into dir.
func writeReport(ctx context.Context, raw, dir string) error {
	text, err := os.ReadFile(raw)
	if err != nil {
		return err
	}
	samples, err := parseSamples(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s: %w", raw, err)
	}
	all := rows(samples)
	if err := os.WriteFile(filepath.Join(dir, "README.md"), formatReport(all, string(text)), 0o644); err != nil {
		return err
	}
	return plot(ctx, all, dir)
}

// formatReport is the page of tables.
func formatReport(all []row, raw string) []byte {
	var b bytes.Buffer
	b.WriteString("# Measurements\n\nWritten by `make bench`; every sample is in [raw.txt](raw.txt) (`benchstat docs/bench/raw.txt` reads it).\n" +
		"The units are those of `cmd/internal/bench/doc.go`; figures are medians.\n\n")
	told := map[string]bool{} // several runs may be in one file
	for line := range strings.Lines(raw) {
		key, value, ok := strings.Cut(line, ": ")
		if ok && !told[line] && !strings.Contains(key, " ") && !strings.HasPrefix(key, "Benchmark") {
			fmt.Fprintf(&b, "* %s: %s", key, value)
			told[line] = true
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
	columns := slices.Sorted(maps.Keys(units))
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

// number writes four digits, or a whole number in full.
func number(value float64) string {
	if value >= 10_000 {
		return strconv.FormatFloat(value, 'f', 0, 64)
	}
	return strconv.FormatFloat(value, 'g', 4, 64)
}

// plot draws the two figures that matter with gnuplot, where that is installed:
// the last reader's time over the number of readers, and clone times.
func plot(ctx context.Context, all []row, dir string) error {
	if _, err := exec.LookPath("gnuplot"); err != nil {
		fmt.Fprintln(os.Stderr, "bench: gnuplot is not installed: no plots")
		return nil
	}
	return errors.Join(drawCrowd(ctx, all, dir), drawClone(ctx, all, dir))
}
