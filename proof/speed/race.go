package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
)

// race is one thing that every contestant does.
type race struct {
	name        string
	contestants []contestant
	want        int // conversations
	do          func(context.Context, contestant) (int, error)
	allocates   bool // alone, so that its allocations can be counted: no server
}

// newRaces starts the servers, and returns what closes them too.
func newRaces() (races []race, closeAll func()) {
	var servers []*httptest.Server
	serve := func(srv *httptest.Server) []contestant {
		servers = append(servers, srv)
		return newContestants(srv.URL, memoryplugin.NewTransport())
	}
	deletions := []struct {
		n    int
		name string
	}{{1, "1 id"}, {100, "100 ids"}, {10_000, "10,000 ids"}}
	for _, d := range deletions {
		races = append(races, deletionRace(d.name+", loopback", d.n, serve(answer(confirm(newIDs(d.n))))))
	}
	for _, d := range deletions {
		race := deletionRace(d.name+", in memory", d.n, newContestants("http://localhost", answerInMemory(confirm(newIDs(d.n)))))
		race.allocates = true
		races = append(races, race)
	}
	races = append(races, listRace("list 10,000", 10_000, serve(listAll(10_000))),
		batchRace("40,000 in batches", 40_000, serve(confirmAll(20*time.Millisecond))))
	return races, func() {
		for _, srv := range servers {
			srv.Close()
		}
	}
}

// answerInMemory answers every request alike, without a network.
func answerInMemory(body []byte) http.RoundTripper {
	return inMemory(func(request io.Reader) ([]byte, error) {
		_, err := io.Copy(io.Discard, request)
		return body, err
	})
}

func deletionRace(name string, n int, contestants []contestant) race {
	ids := newIDs(n)
	return race{name: name, contestants: contestants, want: n, do: func(ctx context.Context, c contestant) (int, error) {
		return c.delete(ctx, ids)
	}}
}

func listRace(name string, n int, contestants []contestant) race {
	return race{name: name, contestants: contestants, want: n, do: func(ctx context.Context, c contestant) (int, error) {
		return c.list(ctx)
	}}
}

func batchRace(name string, n int, contestants []contestant) race {
	ids := newIDs(n)
	return race{name: name, contestants: contestants, want: n, do: func(ctx context.Context, c contestant) (int, error) {
		return c.deleteBatches(ctx, ids, 100, 8)
	}}
}

// result is what came of a race, for each contestant.
type result struct {
	name   string
	time   []time.Duration // of one call
	ratio  []float64       // to the time by hand
	allocs []string        // of one call; nil if not counted
}

// run has the contestants take turns for some rounds, which last a time each at
// least. The result has the medians.
func (r race) run(ctx context.Context, rounds int, least time.Duration) (result, error) {
	times := make([][]time.Duration, len(r.contestants))
	ratios := make([][]float64, len(r.contestants))
	for range rounds {
		typical, err := r.round(ctx, least)
		if err != nil {
			return result{}, fmt.Errorf("%s: %w", r.name, err)
		}
		for i := range typical {
			times[i] = append(times[i], typical[i])
			ratios[i] = append(ratios[i], float64(typical[i])/float64(typical[byHand]))
		}
	}
	result := result{name: r.name}
	for i, c := range r.contestants {
		result.time = append(result.time, median(times[i]))
		result.ratio = append(result.ratio, median(ratios[i]))
		if r.allocates {
			allocs := testing.AllocsPerRun(10, func() { _, _ = r.do(ctx, c) })
			result.allocs = append(result.allocs, fmt.Sprintf("%.0f", allocs))
		}
	}
	return result, nil
}

// round returns the median time of each contestant's calls.
func (r race) round(ctx context.Context, least time.Duration) ([]time.Duration, error) {
	times := make([][]time.Duration, len(r.contestants))
	for begin := time.Now(); len(times[0]) == 0 || time.Since(begin) < least; {
		for _, i := range rand.Perm(len(r.contestants)) { // Whoever comes next pays for some of the garbage.
			start := time.Now()
			n, err := r.do(ctx, r.contestants[i])
			times[i] = append(times[i], time.Since(start))
			if err != nil || n != r.want {
				return nil, fmt.Errorf("%s: %d of %d: %w", names[i], n, r.want, err)
			}
		}
	}
	medians := make([]time.Duration, len(times))
	for i := range times {
		medians[i] = median(times[i])
	}
	return medians, nil
}

func median[T int | float64 | time.Duration](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}
