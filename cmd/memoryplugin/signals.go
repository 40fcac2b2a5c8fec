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
// A third one ends the program, whatever it is busy with.
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
		go onFirst(first) // It may never return: standard error can be a pipe that nobody reads.
		second := another(signals, first)
		cancel(fmt.Errorf("%w twice (%v)", errInterrupted, second))
		another(signals, second)
		os.Exit(exitInterrupted)
	}()
	return stop, ctx
}

// another returns the next signal. Shell and kernel may each send a SIGHUP for a
// terminal that is gone.
func another(signals <-chan os.Signal, last os.Signal) os.Signal {
	next := <-signals
	for last == syscall.SIGHUP && next == syscall.SIGHUP {
		next = <-signals
	}
	return next
}
