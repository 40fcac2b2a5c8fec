package soak

import (
	"math/rand/v2"
	"time"

	"github.com/memoryplugin/memoryplugin-go/proof/backend"
)

// faults says how many of ten thousand deletions meet each fault.
var faults = []struct {
	n     int
	fault backend.Fault
}{
	{200, backend.Status(503)},
	{100, backend.Applied(backend.Status(503))},
	{100, backend.Applied(backend.Status(499))},
	{100, backend.Status(429)},
	{1, backend.Status(429, "Retry-After", "1")},
	{10, backend.Status(429, "Retry-After", "3600")},
	{100, backend.Status(400)},
	{50, backend.Applied(backend.Status(302, "Location", "/elsewhere"))},
	{100, backend.Drop},
	{100, backend.Applied(backend.Drop)},
	{100, backend.Reset},
	{100, backend.Applied(backend.Reset)},
	{100, backend.Cut},
	{100, backend.Mute},
	{100, backend.Miscount},
	{20, backend.Stall},
	{20, backend.Applied(backend.Stall)},
	{20, backend.Late},
	{1000, backend.Slow(5 * time.Millisecond)},
}

func randomFault() backend.Fault {
	n := rand.IntN(10_000)
	for _, f := range faults {
		if n -= f.n; n < 0 {
			return f.fault
		}
	}
	return nil
}
