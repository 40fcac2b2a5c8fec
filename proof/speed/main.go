// Speed compares the SDK with the same calls by hand over net/http, and with bare
// go-retryablehttp. It prints tables and draws a picture:
//
//	go run -C proof ./speed
//
// The contestants take turns, so that a slow moment of the machine hits all alike.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 9, "how many rounds; the figures are medians of them")
	least := flag.Duration("time", time.Second, "how long one race of a round lasts at least")
	picture := flag.String("picture", "../docs/speed.svg", "where to draw the picture")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *rounds, *least, *picture); err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, rounds int, least time.Duration, picture string) error {
	races, closeAll := newRaces()
	defer closeAll()
	var results []result
	for _, race := range races {
		result, err := race.run(ctx, rounds, least)
		if err != nil {
			return err
		}
		results = append(results, result)
	}
	printTable(out, results)
	const n = 1_000_000
	perID, err := memoryPerID(ctx, n)
	if err != nil {
		return fmt.Errorf("memory per id: %w", err)
	}
	fmt.Fprintf(out, "\nA run of %d ids in batches needs %d bytes for each, beyond the ids themselves.\n", n, perID)
	return draw(picture, results)
}
