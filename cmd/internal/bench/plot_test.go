package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// crowdRows are a whole crowd of a repository: 10 s a copy.
func crowdRows(repo string) []row {
	var all []row
	for _, n := range crowds() {
		for by, s := range map[string]float64{"gitpeer": 12, "libtorrent": 15, "git-bitmap": 10 * float64(n)} {
			all = append(all, row{"Crowd", config{"repo=" + repo, fmt.Sprintf("n=%d", n), "by=" + by},
				map[string]float64{"s": s, "×copy": s / 10, "net-s": s - 1}, 1})
		}
	}
	return all
}

func cloneRows(repo string) []row {
	var all []row
	for _, kind := range cloneKinds() {
		for i, by := range kind.ways() {
			all = append(all, row{"Clone", config{"repo=" + repo, "link=" + kind.link, "mode=" + kind.mode, "by=" + by}, map[string]float64{"s": float64(9 - i)}, 1})
		}
	}
	return all
}

// TestPlots: both are drawn from whole data, well formed, and say what they show.
func TestPlots(t *testing.T) {
	dir := t.TempDir()
	undrawn, err := plot(append(crowdRows("a"), cloneRows("<b>")...), dir)
	if err != nil || len(undrawn) > 0 {
		t.Fatalf("plot = %v, %v, want all to be drawn", undrawn, err)
	}
	for file, want := range map[string][]string{
		"crowd.svg": {"clone a at once", "gitpeer: its last byte", "prefers-color-scheme: dark", "uplink × 1.3"},
		"clone.svg": {"&lt;b&gt;", "100mbit-20ms", ">7.0<", "git daemon with a bitmap"},
	} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range want {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s lacks %q", file, part)
			}
		}
		for d := xml.NewDecoder(strings.NewReader(string(text))); err == nil; {
			_, err = d.Token()
		}
		if err != io.EOF {
			t.Errorf("%s is not well formed: %v", file, err)
		}
	}
}

// TestPlotsWantAllPoints: with any point missing a plot is not drawn, and the
// report says which.
func TestPlotsWantAllPoints(t *testing.T) {
	whole := append(crowdRows("a"), cloneRows("a")...)
	for i, r := range whole {
		key := sample{Name: r.Name, Config: r.Config}.key()
		all := slices.Delete(slices.Clone(whole), i, i+1)
		dir := t.TempDir()
		undrawn, err := plot(all, dir)
		want := strings.ToLower(r.Name) + ".svg"
		if err != nil || !reflect.DeepEqual(undrawn, []string{want}) {
			t.Errorf("without %s: plot = %v, %v, want %s undrawn", key, undrawn, err, want)
		}
		if _, err := os.Stat(filepath.Join(dir, want)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without %s: %s is there: %v", key, want, err)
		}
		if absent := missing(all); !slices.Contains(absent, key) {
			t.Errorf("without %s: missing = %v", key, absent)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, test := range []struct {
		low, high float64
		want      []float64
	}{{1, 10, []float64{1, 2, 5, 10}}, {3, 60, []float64{5, 10, 20, 50}}, {0.15, 0.6, []float64{0.2, 0.5}}} {
		got := ticks(test.low, test.high)
		if !slices.EqualFunc(got, test.want, func(a, b float64) bool { return a > 0.999*b && a < 1.001*b }) {
			t.Errorf("ticks(%v, %v) = %v, want %v", test.low, test.high, got, test.want)
		}
	}
}

// TestDelivered: a reader has its data when it has 99 % of what it received, from
// what it had before; talk that follows does not count.
func TestDelivered(t *testing.T) {
	p := progress{
		{0, 1000, []int64{500, 0}},
		{time.Second, 2000, []int64{1490, 100}},
		{2 * time.Second, 3000, []int64{1500, 990}},
		{9 * time.Second, 3200, []int64{1500, 1000}},
	}
	if got, want := p.delivered(), []time.Duration{time.Second, 2 * time.Second}; !reflect.DeepEqual(got, want) {
		t.Errorf("delivered = %v, want %v", got, want)
	}
	got := p.values(2000, 8000) // a copy takes 2 s
	want := map[string]float64{"net-s": 2, "net-median-s": 1.5, "net-×copy": 1, "copies": 1.1}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("values = %v, want %v", got, want)
	}
	if got := (progress)(nil).values(1, 1); len(got) != 0 {
		t.Errorf("values of nothing = %v", got)
	}
}
