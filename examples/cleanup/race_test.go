//go:build race

package main_test

// The race detector watches the program too.
func init() { buildFlags = []string{"-race"} }
