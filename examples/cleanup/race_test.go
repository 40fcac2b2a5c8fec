//go:build race

package main_test

import "os"

// The race detector watches the program too, which then sleeps for a second
// before it ends unless it is told not to.
func init() {
	buildFlags = []string{"-race"}
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
}
