package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"agora/httpapi"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/klauspost/compress/zstd"
	"github.com/nbd-wtf/go-nostr"
	"github.com/urfave/cli/v3"
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "write events as JSON lines",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: `One event a line, newest first, in the form that strfry and agora import. Works
while the relay is serving. It is the operator's door: wrapped messages and other
private kinds come too (GET /v1/export of a running relay leaves them out).

Examples:
  agora export > all.jsonl
  agora export --out all.jsonl.zst
  agora export --filter '{"kinds":[0,3,10002]}' --out people.jsonl.gz
  agora export --filter '[{"kinds":[1],"since":1700000000},{"kinds":[30023]}]'`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "filter", Usage: "only what matches this `JSON`: a filter, or a list of filters"},
			&cli.StringFlag{Name: "out", Usage: "write to `FILE`, compressed when it ends in .gz or .zst; default stdout"},
		}, configFlags("data")...),
		Action: runExport,
	}
}

func runExport(ctx context.Context, cmd *cli.Command) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	if cmd.Args().Present() {
		return usagef("export takes no arguments: write to a file with --out, choose with --filter")
	}
	filters, err := parseFilters(cmd.String("filter"))
	if err != nil {
		return usage(fmt.Errorf("--filter: %w", err))
	}
	held, err := openReading(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = held.Close() }() // it was only read
	out, err := createOut(cmd.String("out"), cmd.Root().Writer)
	if err != nil {
		return err
	}
	n, err := writeRecords(out, held.Query(ctx, filters...))
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("export stopped after %s: %w", howMany(int64(n), "event"), err)
	}
	if ctx.Err() != nil {
		return &exit{exitInterrupted, fmt.Errorf("interrupted after %s", howMany(int64(n), "event"))}
	}
	fmt.Fprintf(cmd.Root().ErrWriter, "exported %s\n", howMany(int64(n), "event"))
	return nil
}

// openReading opens the store beside whatever process writes it.
func openReading(cfg Config) (*store.Store, error) {
	if err := existingData(cfg.Data); err != nil {
		return nil, mayRead(cfg.Data, err)
	}
	opt := store.Config{MapSize: int64(cfg.MapSize), ReadOnly: true}
	held, err := store.Open(filepath.Join(cfg.Data, storeDir), opt)
	if !errors.Is(err, fs.ErrPermission) {
		return held, err
	}
	if err := keepWritersOut(cfg.Data); err != nil {
		return nil, err
	}
	opt.NoLock = true
	held, err = store.Open(filepath.Join(cfg.Data, storeDir), opt)
	return held, mayRead(cfg.Data, err)
}

// mayRead says what to do where even reading is not permitted.
func mayRead(dir string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s may not be read: run this as the user who serves it, or on a copy of your own: %w", dir, err)
	}
	return err
}

// parseFilters reads one filter, a list of filters, or nothing: everything.
func parseFilters(text string) ([]nostr.Filter, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return []nostr.Filter{{}}, nil
	}
	parts := []json.RawMessage{json.RawMessage(text)}
	if text[0] == '[' {
		if err := json.Unmarshal([]byte(text), &parts); err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
	}
	var filters []nostr.Filter
	for _, part := range parts {
		f, err := wire.ParseFilter(part, wire.Limits{})
		if err != nil {
			return nil, err
		}
		if f.Search != "" {
			return nil, errors.New("search is for clients (NIP-50) and cannot choose what is exported")
		}
		filters = append(filters, f)
	}
	if len(filters) == 0 {
		return nil, errors.New("the list of filters is empty")
	}
	return filters, nil
}

// parseFilter reads exactly one filter.
func parseFilter(text string) (nostr.Filter, error) {
	filters, err := parseFilters(text)
	if err != nil {
		return nostr.Filter{}, err
	}
	if len(filters) != 1 {
		return nostr.Filter{}, fmt.Errorf("want one filter, these are %d", len(filters))
	}
	return filters[0], nil
}

// writeRecords writes one record a line and says how many.
func writeRecords(w io.Writer, records iter.Seq2[store.Record, error]) (n int, err error) {
	out := bufio.NewWriterSize(w, 256<<10)
	for rec, err := range records {
		if err != nil {
			return n, errors.Join(err, out.Flush())
		}
		_, _ = out.Write(rec.JSON) // errors stick until WriteByte
		if err := out.WriteByte('\n'); err != nil {
			return n, err
		}
		n++
	}
	return n, out.Flush()
}

// createOut opens the file that export writes, by its ending compressed.
func createOut(name string, stdout io.Writer) (io.WriteCloser, error) {
	if name == "" || name == "-" {
		return closers{stdout, nil}, nil
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, usage(err)
	}
	switch filepath.Ext(name) {
	case ".gz":
		z := gzip.NewWriter(file)
		return closers{z, []io.Closer{z, file}}, nil
	case ".zst":
		z, err := zstd.NewWriter(file)
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		return closers{z, []io.Closer{z, file}}, nil
	}
	return closers{file, []io.Closer{file}}, nil
}

// closers writes to one and closes several, in order.
type closers struct {
	io.Writer
	list []io.Closer
}

func (c closers) Close() (err error) {
	for _, each := range c.list {
		err = errors.Join(err, each.Close())
	}
	return err
}

// exporter answers GET /v1/export?filter=…: what anyone may read.
type exporter struct {
	query   func(ctx context.Context, filters ...nostr.Filter) iter.Seq2[store.Record, error]
	visible func(store.Record) bool // to somebody unknown
	limits  func() wire.Limits
	places  chan struct{} // exports under way; 2; when full: 503
	log     *slog.Logger
}

// exporter answers /v1/export out of a store.
func (s *server) exporter(c *core, query func(context.Context, ...nostr.Filter) iter.Seq2[store.Record, error]) http.Handler {
	return httpapi.Open("GET, HEAD", &exporter{
		query:   query,
		visible: func(r store.Record) bool { return s.visible(r, "") },
		limits:  func() wire.Limits { return wire.Limits{Filters: s.cfg.MaxFilters, FilterItems: s.cfg.MaxFilterItems} },
		places:  make(chan struct{}, 2), // exports under way; when full: 503
		log:     c.log,
	})
}

func (e *exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		httpapi.Fail(w, http.StatusMethodNotAllowed, "GET this address")
		return
	}
	filters, err := e.filters(r)
	if err != nil {
		httpapi.Fail(w, http.StatusBadRequest, err.Error())
		return
	}
	select {
	case e.places <- struct{}{}:
		defer func() { <-e.places }()
	default:
		w.Header().Set("Retry-After", "30")
		httpapi.Fail(w, http.StatusServiceUnavailable, "two exports are under way: come back in half a minute")
		return
	}
	w.Header().Set("Content-Type", "application/jsonl; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="events.jsonl"`)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := writeRecords(w, e.publicly(e.query(r.Context(), filters...))); err != nil && r.Context().Err() == nil {
		e.log.Warn("export", "error", err)
		panic(http.ErrAbortHandler) // the reader must see that the answer is cut short
	}
}

func (e *exporter) filters(r *http.Request) ([]nostr.Filter, error) {
	for name := range r.URL.Query() {
		if name != "filter" {
			return nil, fmt.Errorf("there is no parameter %q: write it into filter, as in ?filter={\"kinds\":[3],\"limit\":10}", name)
		}
	}
	text := r.URL.Query().Get("filter")
	if len(text) > 64<<10 {
		return nil, errors.New("filter: longer than 64 KiB")
	}
	filters, err := parseFilters(text)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	if most := e.limits().Filters; most > 0 && len(filters) > most {
		return nil, fmt.Errorf("more than %d filters", most)
	}
	return filters, nil
}

func (e *exporter) publicly(records iter.Seq2[store.Record, error]) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for rec, err := range records {
			if (err != nil || e.visible(rec)) && !yield(rec, err) {
				return
			}
		}
	}
}
