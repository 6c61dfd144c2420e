package relay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// actLog keeps the acts as JSON lines in pages of the keeper's values. One
// act rewrites the last page only, so a ban costs the same whether it is the
// first or the hundred-thousandth. A generation is a whole log: a snapshot
// writes the next one aside and then moves one key to it.
//
//	manage/generation        decimal, absent: 0
//	manage/acts/<gen>/<page> up to actsPerPage lines
type actLog struct {
	keep Keeper
	gen  int
	page int    // the last page
	text []byte // what stands in the last page
	n    int    // acts in the last page
	size int    // acts in this generation
}

// actsPerPage bounds what one act rewrites: at some 200 bytes an act, 13 KB.
const actsPerPage = 64 // acts

const generationKey = "manage/generation"

func pageKey(gen, page int) string { return fmt.Sprintf("manage/acts/%d/%d", gen, page) }

// load reads the log from its start and hands over each act.
func (l *actLog) load(apply func(Act)) error {
	if err := l.loadGeneration(); err != nil {
		return err
	}
	for page := 0; ; page++ {
		key := pageKey(l.gen, page)
		text, err := l.keep.Meta(key)
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		if len(text) == 0 {
			return nil
		}
		n, err := eachAct(text, apply)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		l.page, l.text, l.n, l.size = page, bytes.Clone(text), n, l.size+n
	}
}

func (l *actLog) loadGeneration() error {
	gen, err := l.keep.Meta(generationKey)
	if err != nil {
		return fmt.Errorf("read %s: %w", generationKey, err)
	}
	if len(gen) == 0 {
		return nil
	}
	if l.gen, err = strconv.Atoi(string(gen)); err != nil {
		return fmt.Errorf("%s holds %q, which is no number: %w", generationKey, gen, err)
	}
	return nil
}

func eachAct(text []byte, apply func(Act)) (n int, err error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		var a Act
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			return n, fmt.Errorf("line %d is no act: %w", n+1, err)
		}
		apply(a)
		n++
	}
	return n, lines.Err()
}

// append writes one act. When it returns nil the act is there for good.
func (l *actLog) append(ctx context.Context, a Act) error {
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	page, text, n := l.page, l.text, l.n
	if n >= actsPerPage {
		page, text, n = page+1, nil, 0
	}
	text = append(append(bytes.Clone(text), line...), '\n')
	if err := l.keep.SetMeta(ctx, pageKey(l.gen, page), text); err != nil {
		return err
	}
	l.page, l.text, l.n, l.size = page, text, n+1, l.size+1
	return nil
}

// worthRewriting reports whether most of the log has been overtaken.
func (l *actLog) worthRewriting(live int) bool { return l.size > 2*live+4*auditTrail }

// rewrite replaces the log by acts. Until its last step the old log counts.
func (l *actLog) rewrite(ctx context.Context, acts []Act) error {
	old := *l
	next := actLog{keep: l.keep, gen: l.gen + 1}
	for len(acts) > 0 {
		n := min(actsPerPage, len(acts))
		if err := next.writePage(ctx, acts[:n]); err != nil {
			return err
		}
		acts = acts[n:]
	}
	if err := next.clearAfter(ctx); err != nil {
		return err
	}
	if err := l.keep.SetMeta(ctx, generationKey, []byte(strconv.Itoa(next.gen))); err != nil {
		return err
	}
	*l = next
	old.page, old.n = 0, 0 // all of it goes
	return old.clearAfter(ctx)
}

func (l *actLog) writePage(ctx context.Context, acts []Act) error {
	var text []byte
	for _, a := range acts {
		line, err := json.Marshal(a)
		if err != nil {
			return err
		}
		text = append(append(text, line...), '\n')
	}
	page := l.page
	if l.n > 0 {
		page++
	}
	if err := l.keep.SetMeta(ctx, pageKey(l.gen, page), text); err != nil {
		return err
	}
	l.page, l.text, l.n, l.size = page, text, len(acts), l.size+len(acts)
	return nil
}

// clearAfter empties the pages after the last one, which an interrupted
// rewrite may have left there.
func (l *actLog) clearAfter(ctx context.Context) error {
	page := l.page
	if l.n > 0 {
		page++
	}
	for ; ; page++ {
		key := pageKey(l.gen, page)
		switch text, err := l.keep.Meta(key); {
		case err != nil:
			return err
		case len(text) == 0:
			return nil
		}
		if err := l.keep.SetMeta(ctx, key, nil); err != nil {
			return err
		}
	}
}
