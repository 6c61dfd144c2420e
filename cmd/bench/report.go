package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine says where and when a run was made.
type machine struct {
	CPU    string
	Cores  int
	Memory int64 // bytes
	Kernel string
	Go     string
	Date   time.Time
	Load   string // load average when the run began: an idle machine is under 1
}

func thisMachine() machine {
	m := machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Date: time.Now().UTC()}
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := bytes.Cut(data, []byte("model name\t: ")); ok {
			name, _, _ := bytes.Cut(rest, []byte("\n"))
			m.CPU = string(name)
		}
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Join(strings.Fields(string(data))[:3], " ")
	}
	return m
}

// The results stand in BENCHMARKS.md between these lines; all else there is
// written by people.
const (
	resultsBegin = "<!-- results: written by make bench -->"
	resultsEnd   = "<!-- end of results -->"
)

// writeResults replaces the results in a Markdown file.
func writeResults(name string, r *results) error {
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text, err := splice(string(old), r.markdown())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

// splice puts section between the marks of text, at its end when it has none.
func splice(text, section string) (string, error) {
	section = resultsBegin + "\n" + section + resultsEnd
	before, rest, found := strings.Cut(text, resultsBegin)
	if !found {
		return strings.TrimLeft(strings.TrimRight(text, "\n")+"\n\n"+section+"\n", "\n"), nil
	}
	_, after, found := strings.Cut(rest, resultsEnd)
	if !found {
		return "", fmt.Errorf("%q has no %q after it", resultsBegin, resultsEnd)
	}
	return before + section + after, nil
}

func writeJSON(name string, r *results) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o644)
}

// markdown is the whole report; each chapter is a table.
func (r *results) markdown() string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "\n%s UTC, %s, %d cores, %.0f GiB, Linux %s, %s, load average before: %s.\n", m.Date.Format("2006-01-02 15:04"), m.CPU, m.Cores, float64(m.Memory)/(1<<30), m.Kernel, m.Go, m.Load)
	fmt.Fprintf(&b, "\nCommand: `%s`, as `make bench` builds and runs it.\n", strings.Join(os.Args, " "))
	if r.Quick {
		b.WriteString("\nA quick run (`-quick`): fewer events, one round. The full one is `make bench`.\n")
	}
	r.targetTable(&b)
	if len(r.Rounds) > 0 {
		fmt.Fprintf(&b, "\nEvents: %s, mean %d bytes of JSON; %d connections, %d in flight each. Medians of %d rounds; in brackets the least and the most.\n",
			r.Corpus, r.MeanJSON, r.Load.Conns, r.Load.InFlight, len(r.Rounds[nameFull]))
		r.publishTable(&b)
		r.floorTable(&b)
		r.queryTable(&b)
		r.fanoutTable(&b)
	}
	r.idleTable(&b)
	r.largeTable(&b)
	return b.String()
}

func (r *results) targetTable(b *strings.Builder) {
	b.WriteString("\n### Targets\n\n| what | must | measured | measured ÷ bound | |\n|---|---|---|---|---|\n")
	for _, t := range r.Targets {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", t.What, t.Must, t.Got, trim(t.Ratio), t.verdict())
	}
}

// spread shows a median with its range.
func (r *results) spread(name string, value func(round) float64) string {
	var all []float64
	for _, one := range r.Rounds[name] {
		all = append(all, value(one))
	}
	return spreadOf(all)
}

func spreadOf(all []float64) string {
	if len(all) == 0 {
		return "–"
	}
	if len(all) == 1 {
		return trim(all[0])
	}
	return fmt.Sprintf("%s (%s–%s)", trim(median(all)), trim(quantile(all, 0)), trim(quantile(all, 1)))
}

func (r *results) publishTable(b *strings.Builder) {
	b.WriteString("\n### Publishing, OK after the synced commit\n\n| relay | events/s | CPU µs/event | client's CPU µs/event | OK p50 ms | OK p99 ms | accepted | duplicates: CPU µs/event | events/s |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, name := range r.names() {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %.0f | %s | %s |\n", name,
			r.spread(name, func(x round) float64 { return x.Publish.PerSecond }),
			r.spread(name, func(x round) float64 { return x.Publish.CPUMicros }),
			r.spread(name, func(x round) float64 { return x.Publish.OwnMicros }),
			r.spread(name, func(x round) float64 { return millis(x.Publish.P50) }),
			r.spread(name, func(x round) float64 { return millis(x.Publish.P99) }),
			r.of(name, func(x round) float64 { return float64(x.Publish.Accepted) }),
			r.spread(name, func(x round) float64 { return x.Duplicate.CPUMicros }),
			r.spread(name, func(x round) float64 { return x.Duplicate.PerSecond }))
	}
}

func (r *results) floorTable(b *strings.Builder) {
	b.WriteString("\n### The floor: checking each id and signature with libsecp256k1, and the same rows into LMDB, 256 events to a synced commit\n\n| | events/s | CPU µs/event | of it the check | rows per event |\n|---|---|---|---|---|\n")
	for _, f := range []struct {
		name string
		runs []floored
	}{{"256 events in flight, as the clients keep", r.Floor}, {"the next batch is checked during a commit", r.Overlap}} {
		var rate, cpu, check, rows []float64
		for _, one := range f.runs {
			rate, cpu, check, rows = append(rate, one.PerSecond), append(cpu, one.CPUMicros), append(check, one.Verify), append(rows, one.Rows)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", f.name, spreadOf(rate), spreadOf(cpu), spreadOf(check), trim(median(rows)))
	}
}

func (r *results) queryTable(b *strings.Builder) {
	b.WriteString("\n### Questions, one connection: p50 ms / p99 ms (relay's CPU ms), rows per answer\n\n| question |")
	for _, name := range r.names() {
		b.WriteString(" " + name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(r.names())) + "\n")
	for _, q := range []string{queryKinds, queryFeed, queryIDs, queryProfiles, queryTime, queryTag} {
		fmt.Fprintf(b, "| %s |", q)
		for _, name := range r.names() {
			fmt.Fprintf(b, " %s / %s (%s), %s |",
				trim(r.of(name, func(x round) float64 { return millis(x.Queries[q].P50) })),
				trim(r.of(name, func(x round) float64 { return millis(x.Queries[q].P99) })),
				trim(r.of(name, func(x round) float64 { return x.Queries[q].CPUMillis })),
				trim(r.of(name, func(x round) float64 { return x.Queries[q].perAnswer() })))
		}
		b.WriteString("\n")
	}
}

func (r *results) fanoutTable(b *strings.Builder) {
	fmt.Fprintf(b, "\n### Fan-out: %d subscribers, %d events at %d/s\n\n| relay | CPU µs/delivery | p50 ms | p99 ms | delivered |\n|---|---|---|---|---|\n", r.Crowd.Listeners, r.Crowd.Events, r.Crowd.PerSecond)
	line := func(name string, all []fanned) {
		var cpu, p50, p99, got []float64
		for _, f := range all {
			cpu, p50, p99 = append(cpu, f.CPUMicros), append(p50, millis(f.P50)), append(p99, millis(f.P99))
			got = append(got, 100*float64(f.Delivered)/float64(max(f.Expected, 1)))
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s %% |\n", name, spreadOf(cpu), spreadOf(p50), spreadOf(p99), trim(median(got)))
	}
	for _, name := range r.names() {
		var all []fanned
		for _, one := range r.Rounds[name] {
			all = append(all, one.Fanout)
		}
		line(name, all)
	}
	line(bareSelf().Name, r.Bare)
}

func (r *results) idleTable(b *strings.Builder) {
	if len(r.Idle) == 0 {
		return
	}
	b.WriteString("\n### Idle connections, one subscription of two filters each\n\n| relay | connections | KB each | anonymous memory before, after (MB) |\n|---|---|---|---|\n")
	for _, name := range []string{nameFull, nameKhatru} {
		if i, ok := r.Idle[name]; ok {
			fmt.Fprintf(b, "| %s | %d | %s | %s, %s |\n", name, i.Accepted, trim(float64(i.PerConn)/1000), trim(float64(i.Before)/1e6), trim(float64(i.After)/1e6))
		}
	}
}

func (r *results) largeTable(b *strings.Builder) {
	l := r.Large
	if l == nil {
		return
	}
	fmt.Fprintf(b, "\n### %d events (%s MB of JSON)\n\n| what | measured |\n|---|---|\n", l.Events, trim(float64(l.JSON)/1e6))
	fmt.Fprintf(b, "| `agora import` | %s events/s, %s µs of CPU per event |\n", trim(l.Import.PerSecond), trim(l.Import.CPUMicros))
	fmt.Fprintf(b, "| start to the first answer | %s s |\n", trim(l.Start.Seconds()))
	fmt.Fprintf(b, "| anonymous memory at rest | %s MB |\n", trim(float64(l.RSSAnon)/1e6))
	fmt.Fprintf(b, "| disk: store, everything | %s MB, %s MB |\n", trim(float64(l.StoreDisk)/1e6), trim(float64(l.DataDisk)/1e6))
	fmt.Fprintf(b, "| NEG-OPEN over everything to the first frame | %s ms |\n", trim(millis(l.Negentropy)))
	fmt.Fprintf(b, "| paging %d rows in %d pages: first tenth, last tenth, slowest | %s ms, %s ms, %s ms |\n", l.Paging.Rows, l.Paging.Pages, trim(millis(l.Paging.First)), trim(millis(l.Paging.Last)), trim(millis(l.Paging.Slowest)))
}
