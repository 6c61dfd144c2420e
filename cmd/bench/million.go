package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
)

// large is what a relay with many events showed.
type large struct {
	Events     int
	JSON       int64 // bytes of the corpus
	Import     imported
	Start      time.Duration // exec to the first answered REQ
	RSSAnon    int64         // bytes, at rest
	StoreDisk  int64         // bytes of the log and its indexes
	DataDisk   int64         // bytes of everything, word index and graph included
	Negentropy time.Duration // NEG-OPEN over the whole set to the first frame
	Paging     paged
}

// paged is reading one author's notes to the end, page by page.
type paged struct {
	Rows, Pages int
	First, Last time.Duration // medians of the first and the last tenth of the pages
	Slowest     time.Duration
	Expected    int
}

const (
	pageSize    = 500
	pageOfNotes = 1 // kind
)

// runLarge imports the corpus, lets the projections catch up, starts anew and
// measures.
func runLarge(ctx context.Context, b *bench, p plan) (large, error) {
	file, err := p.ensure(ctx, b.corpus)
	if err != nil {
		return large{}, err
	}
	dir, err := os.MkdirTemp(b.tmp, "large-*")
	if err != nil {
		return large{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l := large{Events: p.total()}
	if l.JSON, err = sizeOf(file); err != nil {
		return l, err
	}
	l.JSON -= int64(p.total()) // without the line ends
	b.say("import %d events", p.total())
	if l.Import, err = importFile(ctx, b.agora, dir, file, p.total()); err != nil {
		return l, err
	}
	if err := l.catchUp(ctx, b, dir); err != nil {
		return l, err
	}
	if l.StoreDisk, err = diskOf(storeOf(dir)); err != nil {
		return l, err
	}
	if l.DataDisk, err = diskOf(dir); err != nil {
		return l, err
	}
	return l, l.serve(ctx, b, dir, p)
}

// catchUp runs the relay until its projections have read the whole log.
func (l *large) catchUp(ctx context.Context, b *bench, dir string) error {
	b.say("let the word index and the graph catch up")
	s, err := start(ctx, b.full(), dir)
	if err != nil {
		return err
	}
	if _, err := settle(ctx, s.PID, 10*time.Minute); err != nil {
		return err
	}
	return s.stop()
}

func (l *large) serve(ctx context.Context, b *bench, dir string, p plan) (err error) {
	b.say("start on %d events", p.total())
	s, err := start(ctx, b.full(), dir)
	if err != nil {
		return err
	}
	defer func() { _ = s.stop() }()
	l.Start = s.Started
	if _, err = settle(ctx, s.PID, 5*time.Minute); err != nil {
		return err
	}
	// What the start needed goes back to the system after the first quiet ten
	// seconds, which the relay looks for every ten seconds.
	if err = pause(ctx, 30*time.Second); err != nil {
		return err
	}
	if l.RSSAnon, err = rssAnonOf(s.PID); err != nil {
		return err
	}
	if l.Negentropy, err = reconcile(ctx, s); err != nil {
		return err
	}
	b.say("page through %d notes of one author, twice", p.Deep)
	for range 2 { // the first time the pages come from the disk, and the first page pays for all
		if l.Paging, err = page(ctx, s, authorKey(deepAuthor)[1]); err != nil {
			return err
		}
	}
	l.Paging.Expected = p.Deep
	return nil
}

// reconcile asks for the fingerprints of the whole set, as a client does that
// holds other events, and waits for the first frame (NIP-77).
func reconcile(ctx context.Context, s *server) (time.Duration, error) {
	c, err := dial(ctx, s.URL, 256<<10)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return 0, err
	}
	began := time.Now()
	// version 0x61, one range to infinity, a fingerprint nobody has
	if err := c.say(`["NEG-OPEN","n",{},"61000001` + "00112233445566778899aabbccddeeff" + `"]`); err != nil {
		return 0, err
	}
	for {
		m, err := c.next()
		switch {
		case err != nil:
			return 0, err
		case bytes.HasPrefix(m, []byte(`["NEG-MSG"`)):
			return time.Since(began), nil
		case !bytes.HasPrefix(m, []byte(`["AUTH"`)):
			return 0, fmt.Errorf("NEG-OPEN is answered with %s", m)
		}
	}
}

// page reads an author's notes from the newest to the oldest by `until`.
func page(ctx context.Context, s *server, author string) (paged, error) {
	c, err := dial(ctx, s.URL, 1<<20)
	if err != nil {
		return paged{}, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		return paged{}, err
	}
	var p paged
	var times []time.Duration
	until := int64(1) << 40
	for {
		oldest := until
		began := time.Now()
		rows, err := c.ask("p", fmt.Sprintf(`{"authors":[%q],"kinds":[%d],"until":%d,"limit":%d}`, author, pageOfNotes, until, pageSize), func(row []byte) {
			oldest = min(oldest, createdAt(row))
		})
		if err != nil {
			return p, err
		}
		if rows == 0 {
			break
		}
		times = append(times, time.Since(began))
		p.Rows += rows
		if oldest > until || rows < pageSize {
			break
		}
		until = oldest - 1 // the corpus gives this author at most one note a second
	}
	p.Pages = len(times)
	tenth := max(len(times)/10, 1)
	if len(times) == 0 {
		return p, nil
	}
	full := times[:max(len(times)-1, 1)] // the last page may be short
	p.First, p.Last = median(full[:min(tenth, len(full))]), median(full[max(len(full)-tenth, 0):])
	p.Slowest = quantile(times, 1)
	return p, nil
}

// createdAt reads created_at out of a row without decoding it.
func createdAt(row []byte) int64 {
	_, rest, ok := bytes.Cut(row, []byte(`"created_at":`))
	if !ok {
		return 1 << 40
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	if err != nil {
		return 1 << 40
	}
	return n
}
