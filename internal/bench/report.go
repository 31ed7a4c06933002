package main

// The table and the plot.

import (
	"fmt"
	"html"
	"slices"
	"strings"
	"time"
)

// row is one thing that was measured, again and again.
type row struct {
	group, name string
	times       []time.Duration
}

func (r *row) median() time.Duration {
	sorted := slices.Sorted(slices.Values(r.times))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

// report are the rows in the order in which they were first measured.
type report struct{ rows []*row }

func (r *report) add(group, name string, took time.Duration) {
	for _, old := range r.rows {
		if old.group == group && old.name == name {
			old.times = append(old.times, took)
			return
		}
	}
	r.rows = append(r.rows, &row{group, name, []time.Duration{took}})
}

// get is the median of a row; 0 when it was not measured.
func (r *report) get(group, name string) time.Duration {
	for _, old := range r.rows {
		if old.group == group && old.name == name {
			return old.median()
		}
	}
	return 0
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// table is the medians in Markdown, with the spread, and in the last column how often the floor of its group fits in.
func (r *report) table() string {
	var b strings.Builder
	b.WriteString("| | | median | least and most | x floor |\n|---|---|---|---|---|\n")
	for _, row := range r.rows {
		ratio := ""
		if f := r.get(row.group, floorRow); f > 0 {
			ratio = fmt.Sprintf("%.1f", row.median().Seconds()/f.Seconds())
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s to %s | %s |\n", row.group, row.name, seconds(row.median()), seconds(slices.Min(row.times)), seconds(slices.Max(row.times)), ratio)
	}
	return b.String()
}

// ratio is one of the numbers to reach.
type ratio struct {
	name, goal string
	value      float64
}

func ratioTable(all []ratio) string {
	var b strings.Builder
	b.WriteString("| ratio | goal | measured |\n|---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(&b, "| %s | %s | %.2f |\n", r.name, r.goal, r.value)
	}
	return b.String()
}

// plot draws the medians as bars, a group after another, each on a scale of its own.
func (r *report) plot(title string) string {
	const left, width, bar, gap = 330, 420, 18, 6
	var b strings.Builder
	y := 40
	var groups []string
	for _, row := range r.rows {
		if !slices.Contains(groups, row.group) {
			groups = append(groups, row.group)
		}
	}
	for _, group := range groups {
		var most time.Duration
		for _, row := range r.rows {
			if row.group == group {
				most = max(most, row.median())
			}
		}
		y += 14
		fmt.Fprintf(&b, `<text x="10" y="%d" font-weight="bold">%s</text>`+"\n", y, html.EscapeString(group))
		y += 10
		for _, row := range r.rows {
			if row.group != group {
				continue
			}
			colour := "#7b8794"
			if strings.Contains(row.name, "host_sysctl") {
				colour = "#5b3cc4"
			}
			w := int(float64(width) * row.median().Seconds() / max(most.Seconds(), 0.001))
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%d" height="%d" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n",
				left-8, y+13, html.EscapeString(row.name), left, y, max(w, 1), bar, colour, left+w+6, y+13, seconds(row.median()))
			y += bar + gap
		}
		y += 8
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="840" height="%d" font-family="sans-serif" font-size="13">`+"\n"+
		`<rect width="100%%" height="100%%" fill="white"/>`+"\n"+`<text x="10" y="24" font-size="15" font-weight="bold">%s</text>`+"\n%s</svg>\n",
		y+10, html.EscapeString(title), b.String())
}
