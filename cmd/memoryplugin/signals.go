package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// errInterrupted is the end of a command by a signal.
var errInterrupted = errors.New("interrupted")

// watchSignals returns contexts that end with the first and with the second signal.
// A third one ends the program.
func watchSignals(onFirst func(os.Signal)) (stop, ctx context.Context) {
	ctx, cancel := context.WithCancelCause(context.Background())
	stop, interrupt := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 4)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(sig) { // As nohup asks for.
			signal.Notify(signals, sig)
		}
	}
	go func() {
		first := <-signals
		interrupt(fmt.Errorf("%w (%v)", errInterrupted, first))
		onFirst(first)
		second := <-signals
		for second == syscall.SIGHUP { // Shell and kernel may each send one for a terminal that is gone.
			second = <-signals
		}
		signal.Stop(signals)
		cancel(fmt.Errorf("%w twice (%v)", errInterrupted, second))
	}()
	return stop, ctx
}
