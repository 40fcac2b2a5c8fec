package main

import (
	"cmp"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// lineInterval is the time between two lines where there is no bar.
const lineInterval = 5 * time.Second

// progress says on standard error how far a run is: with a bar at a terminal,
// by a line now and then elsewhere.
type progress struct {
	quiet        bool
	total        int
	start        time.Time
	done, failed atomic.Int64
	ended        atomic.Bool
	lastLine     time.Time
	screen       *mpb.Progress // nil where there is no bar
	bar          *mpb.Bar
}

func (p *progress) begin(total int) {
	p.total, p.start, p.lastLine = total, time.Now(), time.Now()
	if p.quiet || total == 0 || !isTerminal(os.Stderr) {
		return
	}
	p.screen = mpb.New(mpb.WithConsoleWriter(console{cupwriter.New(os.Stderr, false)}))
	text := decor.Any(func(decor.Statistics) string { return p.String() })
	p.bar = p.screen.New(int64(total), mpb.BarStyle(), mpb.BarWidth(40), mpb.AppendDecorators(text))
}

func (p *progress) add(done, failed int) {
	p.done.Add(int64(done))
	p.failed.Add(int64(failed))
	switch {
	case p.bar != nil:
		p.bar.IncrBy(done)
	case !p.quiet && time.Since(p.lastLine) >= lineInterval:
		p.lastLine = time.Now()
		fmt.Fprintln(os.Stderr, p)
	}
}

// end leaves the last state on the screen.
func (p *progress) end() {
	p.ended.Store(true)
	switch {
	case p.bar != nil:
		p.bar.Abort(false)
		p.screen.Wait()
		fmt.Fprintln(os.Stderr) // The summary follows, on the same screen.
	case !p.quiet && p.total > 0:
		fmt.Fprintln(os.Stderr, p)
	}
}

// Write writes lines to standard error, above the bar.
func (p *progress) Write(lines []byte) (int, error) {
	if p.screen != nil {
		if n, err := p.screen.Write(lines); err == nil {
			return n, nil
		}
	}
	return os.Stderr.Write(lines) // The bar has ended, or never began.
}

// String is "340 of 1000 done, 85.0/s, 8s left, 20 failed", or without the time
// left where the run has ended.
func (p *progress) String() string {
	done, failed := p.done.Load(), p.failed.Load()
	rate := float64(done) / time.Since(p.start).Seconds()
	left := ""
	switch {
	case p.ended.Load():
	case done == 0:
		left = " ? left,"
	default:
		seconds := float64(int64(p.total)-done) / rate
		left = fmt.Sprintf(" %v left,", time.Duration(seconds*float64(time.Second)).Round(time.Second))
	}
	return fmt.Sprintf("%d of %d done, %.1f/s,%s %d failed", done, p.total, rate, left, failed)
}

// console is a terminal of the usual size where it does not know its own.
type console struct{ *cupwriter.Writer }

func (c console) GetTermSize() (width, height int, err error) {
	width, height, err = c.Writer.GetTermSize()
	return cmp.Or(width, 80), cmp.Or(height, 24), err
}
