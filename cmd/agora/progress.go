package main

import (
	"fmt"
	"os"
	"time"
)

// progress draws one line on a terminal, four times a second.
type progress struct {
	quit, done chan struct{} // closed to end, closed at the end
}

// startProgress draws nothing unless out is a terminal: in a log, a bar is dirt.
func startProgress(out *os.File, from *source, log *ledger) *progress {
	p := &progress{make(chan struct{}), make(chan struct{})}
	if !isTerminal(out) {
		close(p.done)
		return p
	}
	go func() {
		defer close(p.done)
		p.draw(out, from, log)
	}()
	return p
}

func (p *progress) stop() {
	close(p.quit)
	<-p.done
}

func (p *progress) draw(out *os.File, from *source, log *ledger) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-p.quit:
			fmt.Fprint(out, "\r\x1b[K") // leave an empty line behind
			return
		case <-tick.C:
			lines, stored := log.seen()
			fmt.Fprintf(out, "\r\x1b[K%s%d lines, %d stored, %.0f a second",
				portion(from.read.Load(), from.total), lines, stored, float64(lines)/time.Since(began).Seconds())
		}
	}
}

// portion is a bar of 20 signs and a percentage, when the total is known.
func portion(read, total int64) string {
	if total <= 0 {
		return ""
	}
	part := min(float64(read)/float64(total), 1)
	bar := []rune("····················")
	for i := range int(part * float64(len(bar))) {
		bar[i] = '█'
	}
	return fmt.Sprintf("%s %3.0f %%  ", string(bar), part*100)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
