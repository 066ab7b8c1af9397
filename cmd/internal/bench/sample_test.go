package main

import (
	"reflect"
	"strings"
	"testing"
)

func TestSamplesAreReadBack(t *testing.T) {
	want := []sample{
		{"Clone", config{"repo=git", "by=git"}, map[string]float64{"s": 22.5, "cpu-s": 40}},
		{"Crowd", config{"repo=git", "n=20", "by=gitpeer"}, map[string]float64{"×copy": 1.25}},
	}
	text := "date: 2026-11-22\n" + want[0].String() + "\n\nPASS\n" + want[1].String() + "\n"
	got, err := parseSamples(strings.NewReader(text))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q gives %v, %v, want %v", text, got, err, want)
	}
	if _, err := parseSamples(strings.NewReader("BenchmarkX/a=b 1\tmuch s\n")); err == nil {
		t.Error("a value that is no number is read")
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(test.values); got != test.want {
			t.Errorf("median(%v) = %v, want %v", test.values, got, test.want)
		}
	}
}

// TestReport: the ratio is of medians, against the baseline of the same
// configuration.
func TestReport(t *testing.T) {
	var samples []sample
	for _, s := range []float64{10, 20, 90} {
		samples = append(samples,
			sample{"Clone", config{"repo=git", "mode=bare", "by=git"}, map[string]float64{"s": s}},
			sample{"Clone", config{"repo=git", "mode=bare", "by=gitpeer"}, map[string]float64{"s": s / 2}},
			sample{"Clone", config{"repo=git", "mode=checkout", "by=git"}, map[string]float64{"s": 1}})
	}
	page := string(formatReport(rows(samples), "cpu: one\ncpu: one\n", []string{"crowd.svg"}))
	for _, want := range []string{".\n\n* cpu: one\n\n![Clone times of git daemon and gitpeer](clone.svg)\n\n## Clone\n", "| repo=git mode=bare | git | 3 | 20 | 1.00 |", "| repo=git mode=bare | gitpeer | 3 | 10 | 0.50 |",
		"\n* crowd.svg is not drawn", "\n* Clone/repo=git/link=loopback/mode=bare/by=git\n", "\n* Memory\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("the report lacks %q:\n%s", want, page)
		}
	}
}
