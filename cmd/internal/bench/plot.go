package main

import (
	"errors"
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The plots are drawn here, not by a plotting program: few of those write an SVG
// that is readable on light pages and on dark ones.

// sheet is what the plots share: colours that also those tell apart who see few,
// and a ground of their own, since a page may be dark in a light browser.
const sheet = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img">
<title>%[3]s</title>
<style>
rect.ground { fill: #ffffff } text { font: 13px sans-serif; fill: #1f2328 } text.title { font-weight: bold }
.axis { stroke: #59636e } .grid { stroke: #d1d9e0 } path, line { fill: none; stroke-width: 2 } .axis, .grid { stroke-width: 1 }
.git { stroke: #d55e00; fill: #d55e00 } .git-bitmap { stroke: #e69f00; fill: #e69f00 } .gitpeer { stroke: #0072b2; fill: #0072b2 }
.gitpeer-repack { stroke: #009e73; fill: #009e73 }
.libtorrent { stroke: #848d97; fill: #848d97 } .goal { stroke: #1a7f37; fill: #1a7f37; stroke-dasharray: 2 4 } .net { stroke-dasharray: 6 4 }
path { fill: none !important }
@media (prefers-color-scheme: dark) {
rect.ground { fill: #0d1117 } text { fill: #f0f6fc } .axis { stroke: #9198a1 } .grid { stroke: #3d444d }
.gitpeer { stroke: #56b4e9; fill: #56b4e9 } .libtorrent { stroke: #9198a1; fill: #9198a1 } .goal { stroke: #3fb950; fill: #3fb950 }
}
</style>
<rect class="ground" width="100%%" height="100%%"/>
<text class="title" x="16" y="24">%[3]s</text>
`

// A drawing is an SVG that grows, with a plotting area inside its margins.
type drawing struct {
	strings.Builder
	left, right, top, bottom float64 // of the area
}

func newDrawing(title string, width, height int) *drawing {
	d := &drawing{left: 60, right: float64(width) - 24, top: 84, bottom: float64(height) - 60}
	fmt.Fprintf(d, sheet, width, height, html.EscapeString(title))
	return d
}

func (d *drawing) text(x, y float64, anchor, text string) {
	fmt.Fprintf(d, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, html.EscapeString(text))
}

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(d, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1, x2, y2)
}

// legend writes what the classes are, in two columns above the area.
func (d *drawing) legend(entries [][2]string) {
	for i, entry := range entries {
		x, y := d.left+float64(i%2)*(d.right-d.left)/2, 44+float64(i/2)*18
		d.line(entry[0], x, y-4, x+24, y-4)
		d.text(x+32, y, "start", entry[1])
	}
}

// ticks are the round numbers 1, 2 and 5 times powers of ten from low to high.
func ticks(low, high float64) []float64 {
	var out []float64
	for power := math.Pow(10, math.Floor(math.Log10(low))); power <= high; power *= 10 {
		for _, digit := range []float64{1, 2, 5} {
			if value := digit * power; value >= low && value <= high {
				out = append(out, value)
			}
		}
	}
	return out
}

// A curve is one line of a plot; a point is x and y.
type curve struct {
	class, title string
	points       [][2]float64
}

// crowdCurves are what crowd.svg shows of a repository: nothing if a point is
// missing.
func crowdCurves(all []row, repo string) []curve {
	ways := []struct{ by, unit, class, title string }{
		{"git-bitmap", "s", "git-bitmap", "git daemon with a bitmap"}, {"libtorrent", "s", "libtorrent", "libtorrent, the pack alone"},
		{"gitpeer", "s", "gitpeer", "gitpeer"}, {"gitpeer", "net-s", "gitpeer net", "gitpeer: its last byte"},
	}
	var curves []curve
	for _, way := range ways {
		c := curve{class: way.class, title: way.title}
		for _, n := range crowds() {
			r, ok := find(all, "Crowd", config{"repo=" + repo, fmt.Sprintf("n=%d", n), "by=" + way.by})
			if !ok || r.Values[way.unit] <= 0 {
				return nil
			}
			c.points = append(c.points, [2]float64{float64(n), r.Values[way.unit]})
		}
		curves = append(curves, c)
	}
	r, _ := find(all, "Crowd", config{"repo=" + repo, fmt.Sprintf("n=%d", crowds()[0]), "by=gitpeer"})
	goal := curve{class: "goal", title: "bytes ÷ uplink × 1.3"}
	for _, n := range crowds() {
		goal.points = append(goal.points, [2]float64{float64(n), 1.3 * r.Values["s"] / r.Values["×copy"]})
	}
	return append(curves, goal)
}

// drawCrowd plots the time of the last of N readers, on a logarithmic scale.
func drawCrowd(curves []curve, repo string) string {
	d := newDrawing("N readers clone "+repo+" at once; the origin's uplink has 20 Mbit/s", 680, 440)
	low, high, most := math.Inf(1), 0.0, 0.0
	var entries [][2]string
	for _, c := range curves {
		entries = append(entries, [2]string{c.class, c.title})
		for _, p := range c.points {
			low, high, most = min(low, p[1]), max(high, p[1]), max(most, p[0])
		}
	}
	d.legend(entries)
	d.top += 18 // a third row of the legend
	low, high = low*0.8, high*1.2
	x := func(v float64) float64 { return d.left + (d.right-d.left)*v/(most*1.05) }
	y := func(v float64) float64 { return d.bottom - (d.bottom-d.top)*math.Log(v/low)/math.Log(high/low) }
	for _, v := range ticks(low, high) {
		d.line("grid", d.left, y(v), d.right, y(v))
		d.text(d.left-8, y(v)+4, "end", strconv.FormatFloat(v, 'g', -1, 64)+" s")
	}
	d.line("axis", d.left, d.bottom, d.right, d.bottom)
	for _, p := range curves[0].points {
		d.text(x(p[0]), d.bottom+20, "middle", strconv.FormatFloat(p[0], 'g', -1, 64))
	}
	d.text((d.left+d.right)/2, d.bottom+44, "middle", "readers at once; seconds until the last has finished")
	for _, c := range curves {
		var path []string
		for i, p := range c.points {
			path = append(path, fmt.Sprintf("%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[i == 0], x(p[0]), y(p[1])))
			if c.class != "goal" {
				fmt.Fprintf(d, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", c.class, x(p[0]), y(p[1]))
			}
		}
		fmt.Fprintf(d, "<path class=\"%s\" d=\"%s\"/>\n", c.class, strings.Join(path, " "))
	}
	return d.String() + "</svg>\n"
}

// A group is the bars of one kind of clone.
type group struct {
	labels []string
	values []float64 // of cloneWays; the last may be missing
}

// cloneGroups are what clone.svg shows of the repositories: nothing if a bar is
// missing.
func cloneGroups(all []row, repos []string) []group {
	var groups []group
	for _, repo := range repos {
		for _, kind := range cloneKinds() {
			g := group{labels: []string{repo, kind.mode, kind.link}}
			for _, by := range kind.ways() {
				r, ok := find(all, "Clone", config{"repo=" + repo, "link=" + kind.link, "mode=" + kind.mode, "by=" + by})
				if !ok {
					return nil
				}
				g.values = append(g.values, r.Values["s"])
			}
			groups = append(groups, g)
		}
	}
	return groups
}

// drawClone plots clone times beside git's.
func drawClone(groups []group) string {
	d := newDrawing("git clone from one seeder, seconds", max(420, 60+130*len(groups)), 420)
	d.legend([][2]string{{"git", "git daemon"}, {"git-bitmap", "git daemon with a bitmap"}, {"gitpeer", "gitpeer"}, {repacked, "gitpeer publish --repack"}})
	high := 0.0
	for _, g := range groups {
		high = max(high, slices.Max(g.values))
	}
	wide := (d.right - d.left) / float64(len(groups))
	bar := wide / float64(len(cloneWays())+1)
	y := func(v float64) float64 { return d.bottom - (d.bottom-d.top-14)*v/high }
	for i, g := range groups {
		x := d.left + float64(i)*wide + bar/2
		for j, v := range g.values {
			fmt.Fprintf(d, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
				cloneWays()[j], x+float64(j)*bar, y(v), bar-3, d.bottom-y(v))
			d.text(x+float64(j)*bar+(bar-3)/2, y(v)-5, "middle", strconv.FormatFloat(v, 'f', 1, 64))
		}
		for j, label := range g.labels {
			d.text(x+(wide-bar)/2, d.bottom+18+float64(j)*16, "middle", label)
		}
	}
	d.line("axis", d.left, d.bottom, d.right, d.bottom)
	return d.String() + "</svg>\n"
}

// plot draws the two figures that matter, of what is complete, and returns what
// it could not draw.
func plot(all []row, dir string) (undrawn []string, err error) {
	var errs []error
	crowd := slices.IndexFunc(reposOf(all, "Crowd"), func(repo string) bool { return crowdCurves(all, repo) != nil })
	if crowd >= 0 {
		repo := reposOf(all, "Crowd")[crowd]
		errs = append(errs, os.WriteFile(filepath.Join(dir, "crowd.svg"), []byte(drawCrowd(crowdCurves(all, repo), repo)), 0o644))
	} else {
		undrawn = append(undrawn, "crowd.svg")
	}
	if groups := cloneGroups(all, reposOf(all, "Clone")); len(groups) > 0 {
		errs = append(errs, os.WriteFile(filepath.Join(dir, "clone.svg"), []byte(drawClone(groups)), 0o644))
	} else {
		undrawn = append(undrawn, "clone.svg")
	}
	return undrawn, errors.Join(errs...)
}
