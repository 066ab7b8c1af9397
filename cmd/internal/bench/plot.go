package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// style is what both plots share.
const style = `set terminal svg size 640,400 font "sans-serif,13" background "white"
set border 3 lw 1
set tics nomirror
set grid ytics lc rgb "#dddddd"
set key top left reverse Left samplen 2
`

// colours tells the ways apart, also for those who see few colours.
var colours = map[string]string{"git": "#d55e00", "git-bitmap": "#e69f00", "gitpeer": "#0072b2", "libtorrent": "#999999"}

// drawCrowd plots the time of the last of N readers for the first repository
// that was measured.
func drawCrowd(ctx context.Context, all []row, dir string) error {
	var data, lines []string
	repo := ""
	for _, by := range []string{"git-bitmap", "gitpeer"} {
		var points []string
		for _, r := range all {
			if r.Name != "Crowd" || r.Config.get("by") != by || repo != "" && r.Config.get("repo") != repo {
				continue
			}
			repo = r.Config.get("repo")
			points = append(points, fmt.Sprintf("%s %g", r.Config.get("n"), r.Values["s"]))
		}
		if len(points) == 0 {
			return nil
		}
		data = append(data, fmt.Sprintf("$%s << EOD\n%s\nEOD\n", strings.ReplaceAll(by, "-", "_"), strings.Join(points, "\n")))
		lines = append(lines, fmt.Sprintf("$%s with linespoints lw 2 pt 7 lc rgb %q title %q",
			strings.ReplaceAll(by, "-", "_"), colours[by], title(by)))
	}
	return gnuplot(ctx, filepath.Join(dir, "crowd.svg"), strings.Join(data, "")+
		"set logscale y 10\nset xlabel \"readers at once\"\nset ylabel \"seconds until the last has its clone\"\nset xrange [0:21]\n"+
		fmt.Sprintf("set title %q\n", "clone of "+repo+", origin uplink 20 Mbit/s")+
		"plot "+strings.Join(lines, ", ")+"\n")
}

// drawClone plots clone times of each repository and link, beside git's.
func drawClone(ctx context.Context, all []row, dir string) error {
	ways := []string{"git", "git-bitmap", "gitpeer"}
	var names []string
	times := map[string]map[string]float64{}
	for _, r := range all {
		if r.Name != "Clone" || r.Config.get("mode") == "pack" {
			continue
		}
		name := strings.Join([]string{r.Config.get("repo"), r.Config.get("mode"), r.Config.get("link")}, "\\n")
		if times[name] == nil {
			times[name] = map[string]float64{}
			names = append(names, name)
		}
		times[name][r.Config.get("by")] = r.Values["s"]
	}
	if len(names) == 0 {
		return nil
	}
	data := "$t << EOD\n"
	for _, name := range names {
		data += `"` + name + `"` // gnuplot reads the \n in it
		for _, by := range ways {
			data += fmt.Sprintf(" %g", times[name][by])
		}
		data += "\n"
	}
	var plots []string
	for i, by := range ways {
		plots = append(plots, fmt.Sprintf("$t using %d:xtic(1) title %q lc rgb %q", i+2, title(by), colours[by]))
	}
	return gnuplot(ctx, filepath.Join(dir, "clone.svg"), data+"EOD\n"+
		"set style data histograms\nset style fill solid noborder\nset boxwidth 0.9\nset xtics font \",10\"\nset bmargin 4\n"+
		"set ylabel \"seconds\"\nset yrange [0:*]\nset title \"git clone, one seeder\"\nplot "+strings.Join(plots, ", ")+"\n")
}

// title is what a way is called in a plot.
func title(by string) string {
	return map[string]string{"git": "git daemon", "git-bitmap": "git daemon with bitmap", "gitpeer": "gitpeer"}[by]
}

// gnuplot runs a script that writes one file.
func gnuplot(ctx context.Context, file, script string) error {
	cmd := exec.CommandContext(ctx, "gnuplot")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("%sset output %q\n%s", style, file, script))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("gnuplot for %s: %w: %s", file, err, out)
	}
	return nil
}
