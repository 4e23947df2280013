package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// progressEvery is the pause between two updates of the bar, which also keeps short commands silent.
const progressEvery = 200 * time.Millisecond

// progress draws how far a long read is, on stderr and only if that is a terminal.
type progress struct {
	w       io.Writer // nil: nobody looks
	started time.Time

	mu    sync.Mutex
	last  time.Time
	drawn bool
}

func (a *app) newProgress() *progress {
	p := &progress{started: time.Now(), last: time.Now()}
	if f, ok := a.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.w = f
	}
	return p
}

// update is told the bytes read so far and those to read, from any goroutine.
func (p *progress) update(done, total int64) {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.last) < progressEvery {
		return
	}
	p.last, p.drawn = now, true
	elapsed := now.Sub(p.started)
	rate := float64(done) / elapsed.Seconds()
	line := fmt.Sprintf("%s, %s/s", bytesText(done), bytesText(int64(rate)))
	if total > done && rate > 0 {
		left := time.Duration(float64(total-done) / rate * float64(time.Second))
		line = fmt.Sprintf("%3d %% of %s, %s/s, %s left", done*100/total, bytesText(total), bytesText(int64(rate)), left.Round(time.Second))
	}
	fmt.Fprintf(p.w, "\r%-60s", line)
}

// clear removes the bar, before anything else is printed.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprintf(p.w, "\r%-60s\r", "")
		p.drawn = false
	}
}

// bytesText renders a size with a binary unit.
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}
