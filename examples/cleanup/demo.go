package main

import (
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/memoryplugin/memoryplugin-go/memoryplugintest"
)

const (
	demoBatchSize = 5 // Small, so that there is something to watch.
	demoDelay     = 100 * time.Millisecond
)

// startDemo starts a server of conversations that is slow and fails in made-up
// ways, and makes it the one of s.
func startDemo(s *settings) *memoryplugintest.Server {
	srv := memoryplugintest.NewServer(nil)
	for i := range s.demo {
		srv.AddConversations(fmt.Sprintf("demo-%0*d", len(fmt.Sprint(s.demo)), i+1))
	}
	srv.FailNext(demoFaults((s.demo + s.batchSize - 1) / s.batchSize)...)
	s.baseURL, s.apiKey = srv.URL, memoryplugintest.APIKey
	s.host = "demo" // Its port is another one each time, and a journal would be of another host.
	fmt.Fprintf(os.Stderr, "A demo: the server, its %s and its faults are made up.\n", conversations(s.demo))
	if !s.dryRun {
		fmt.Fprintln(os.Stderr, "Some batches will fail, so exit code 1 is expected.")
	}
	return srv
}

// demoFaults makes every request slow, and spreads some that fail over them.
// Two batches at most fail for good, which does not stop the run, but the first
// one does however few there are.
func demoFaults(batches int) []memoryplugintest.Fault {
	failing := []memoryplugintest.Fault{
		{Drop: true, Applied: true}, // The confirmation is lost.
		{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}},
		{Status: http.StatusForbidden, Body: `{"error":"made up: not yours"}`},
		{Status: http.StatusServiceUnavailable},
		{Status: http.StatusOK, Body: `{"deleted":[],"count":0}`}, // As if they were not there.
	}
	// So far apart that the retry of one batch does not meet the fault of the next.
	failing = failing[:min(len(failing), max(1, batches/30))]
	faults := make([]memoryplugintest.Fault, batches)
	for i, fault := range failing {
		faults[i*len(faults)/len(failing)] = fault
	}
	for i := range faults {
		faults[i].Delay = demoDelay
	}
	return faults
}
