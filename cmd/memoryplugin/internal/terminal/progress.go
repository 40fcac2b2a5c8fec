package terminal

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

const (
	lineInterval = 5 * time.Second  // between two lines, if there is no bar
	window       = 10 * time.Second // that the rate is of
	shownWait    = 2 * time.Second  // longer ones are shown
)

// Progress says on standard error how far a command is: with a bar at a terminal,
// by a line now and then elsewhere. It can be used concurrently.
type Progress struct {
	quiet bool

	mu       sync.Mutex
	what     string // "done"; "" between two phases
	total    int
	done     int
	samples  []sample  // of the last seconds
	waiting  string    // until when and why, during a wait
	until    time.Time // of the last wait that was shown
	lastLine time.Time
	screen   *mpb.Progress // nil if there is no bar
	bar      *mpb.Bar
}

// sample is how much was done when.
type sample struct {
	at   time.Time
	done int
}

// NewProgress returns a Progress that shows nothing yet.
func NewProgress(quiet bool) *Progress { return &Progress{quiet: quiet} }

// Begin begins a phase in which a total is to be copied, or deleted.
func (p *Progress) Begin(what string, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.what, p.total, p.done, p.samples, p.lastLine = what, total, 0, []sample{{now, 0}}, now
	if !p.quiet && total > 0 && hasCursor(os.Stderr) {
		p.screen = mpb.New(mpb.WithOutput(os.Stderr), mpb.WithWidth(100))
		text := decor.Any(func(decor.Statistics) string { return p.String() })
		p.bar = p.screen.New(int64(total), mpb.BarStyle(), mpb.BarWidth(30), mpb.AppendDecorators(text))
	}
}

// hasCursor reports whether f is a terminal on which a bar can be drawn.
func hasCursor(f *os.File) bool {
	return term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("CI") == "" &&
		os.Getenv("TERM") != "dumb" && os.Getenv("TERM") != ""
}

// Add says that n more are done.
func (p *Progress) Add(n int) {
	p.mu.Lock()
	now := time.Now()
	p.done += n
	p.samples = append(p.samples, sample{now, p.done})
	for len(p.samples) > 2 && now.Sub(p.samples[1].at) > window {
		p.samples = p.samples[1:]
	}
	isDue := p.bar == nil && now.Sub(p.lastLine) >= lineInterval
	if isDue {
		p.lastLine = now
	}
	bar := p.bar
	p.mu.Unlock()
	if bar != nil {
		bar.IncrBy(n) // It calls String.
	}
	if isDue {
		p.Say("%v", p)
	}
}

// Wait says until when nothing happens, and why, if that is worth saying.
func (p *Progress) Wait(until time.Time, why string) {
	p.mu.Lock()
	isNew := until.Sub(p.until) > shownWait/2 && time.Until(until) > shownWait
	if isNew {
		p.until, p.waiting = until, fmt.Sprintf("waiting until %s: %s", until.Format(time.TimeOnly), why)
	}
	line, hasBar := p.waiting, p.bar != nil
	p.mu.Unlock()
	if isNew && !hasBar {
		p.Say("%s", line)
	}
}

// End ends a phase, and leaves its last state on the screen.
func (p *Progress) End() {
	p.mu.Lock()
	screen, bar := p.screen, p.bar
	p.waiting, p.samples = "", nil
	p.mu.Unlock()
	if bar != nil {
		bar.Abort(false)
		screen.Wait()
	} else if p.total > 0 {
		p.Say("%v", p)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what, p.screen, p.bar = "", nil, nil
}

// Say writes a line, unless the command is quiet.
func (p *Progress) Say(format string, arguments ...any) {
	if !p.quiet {
		fmt.Fprintf(p, format+"\n", arguments...)
	}
}

// Write writes lines to standard error, above the bar.
func (p *Progress) Write(lines []byte) (int, error) {
	p.mu.Lock()
	screen := p.screen
	p.mu.Unlock()
	if screen != nil {
		if n, err := screen.Write(lines); err == nil {
			return n, nil
		}
	}
	return os.Stderr.Write(lines) // There is no bar, or it has ended.
}

// String is "340 of 1000 done, 660 left, 85.0/s, 8s to go".
func (p *Progress) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprintf("%d of %d %s, %d left", p.done, p.total, p.what, p.total-p.done)
	if p.waiting != "" && time.Now().Before(p.until) {
		return text + ", " + p.waiting
	}
	if rate := p.rate(); rate > 0 {
		toGo := time.Duration(float64(p.total-p.done) / rate * float64(time.Second))
		text += fmt.Sprintf(", %.1f/s, %v to go", rate, toGo.Round(time.Second))
	}
	return text
}

// rate is how many are done a second, of the last seconds.
func (p *Progress) rate() float64 {
	if len(p.samples) == 0 {
		return 0 // The phase has ended.
	}
	now := time.Now()
	first := p.samples[0]
	for _, s := range p.samples {
		if now.Sub(s.at) <= window {
			break
		}
		first = s
	}
	if took := now.Sub(first.at).Seconds(); took > 0 {
		return float64(p.done-first.done) / took
	}
	return 0
}
