package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// printTable prints the results as a table in Markdown.
func printTable(out io.Writer, results []result) {
	fmt.Fprint(out, "| |")
	for _, name := range names {
		fmt.Fprintf(out, " %s |", name)
	}
	fmt.Fprint(out, " SDK / by hand | go-retryablehttp / by hand | allocations of each |\n|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		fmt.Fprintf(out, "| %s |", r.name)
		for _, t := range r.time {
			fmt.Fprintf(out, " %s |", short(t))
		}
		fmt.Fprintf(out, " %.2f | %.2f | %s |\n", r.ratio[0], r.ratio[2], strings.Join(r.allocs, ", "))
	}
}

// short gives a time three digits.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.3g s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.3g ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.3g µs", d.Seconds()*1e6)
}
