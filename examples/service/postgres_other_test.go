//go:build !unix

package main

import "testing"

func stopPostgres() {}

func postgresDatabase(t *testing.T) string {
	t.Skip("the tests start PostgreSQL on Unix only: these tests are skipped")
	return ""
}
