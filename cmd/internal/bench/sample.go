package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A sample is one measurement: a line of the Go benchmark format.
type sample struct {
	Name   string // of the scenario: Clone
	Config config // repo=git link=loopback by=gitpeer, in order
	Values map[string]float64
}

// A config says what a sample was taken of, as key=value in a fixed order.
type config []string

// get returns the value of a key, "" if it is not there.
func (c config) get(key string) string {
	for _, pair := range c {
		if value, ok := strings.CutPrefix(pair, key+"="); ok {
			return value
		}
	}
	return ""
}

// without returns c without a key.
func (c config) without(key string) config {
	return slices.DeleteFunc(slices.Clone(c), func(pair string) bool { return strings.HasPrefix(pair, key+"=") })
}

// key tells one configuration from others.
func (s sample) key() string { return strings.Join(append([]string{s.Name}, s.Config...), "/") }

// String formats s as a line of the Go benchmark format, units sorted.
func (s sample) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Benchmark%s 1", s.key())
	for _, unit := range slices.Sorted(maps.Keys(s.Values)) {
		fmt.Fprintf(&b, "\t%s %s", strconv.FormatFloat(s.Values[unit], 'g', 6, 64), unit)
	}
	return b.String()
}

// parseSamples reads what String wrote. Other lines are passed over, as
// benchstat does.
func parseSamples(r io.Reader) ([]sample, error) {
	var out []sample
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		name, ok := strings.CutPrefix(strings.Join(fields[:min(1, len(fields))], ""), "Benchmark")
		if !ok || len(fields) < 4 || len(fields)%2 != 0 {
			continue
		}
		parts := strings.Split(name, "/")
		s := sample{Name: parts[0], Config: parts[1:], Values: map[string]float64{}}
		for i := 2; i < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", lines.Text(), err)
			}
			s.Values[fields[i+1]] = value
		}
		out = append(out, s)
	}
	return out, lines.Err()
}

// median returns the middle of values, the mean of the two middle ones if their
// number is even.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
