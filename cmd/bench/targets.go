package main

import (
	"fmt"
	"slices"
)

// target is one line of what the relay must reach, and what it reached.
type target struct {
	What   string
	Must   string  // the bound in words
	Got    string  // the measured values in words
	Ratio  float64 // measured divided by the bound; at most 1 when the bound is a ceiling
	Floor  bool    // the bound is a floor: Ratio must be at least 1
	Noted  bool    // no bound of the table: shown for comparison
	Absent bool    // what it compares with was not measured
}

// met says whether the bound holds.
func (t target) met() bool {
	if t.Absent {
		return false
	}
	if t.Floor {
		return t.Ratio >= 1
	}
	return t.Ratio <= 1
}

func (t target) verdict() string {
	switch {
	case t.Absent:
		return "not measured"
	case t.Noted:
		return "noted"
	case t.met():
		return "met"
	}
	return "**missed**"
}

// most judges a ceiling: got must be at most share of against.
func most(what, unit string, got, share, against float64, name string) target {
	bound := share * against
	t := target{What: what, Must: fmt.Sprintf("≤ %s × %s", trim(share), name), Got: "–", Absent: got == 0 || bound == 0}
	if !t.Absent {
		t.Got, t.Ratio = fmt.Sprintf("%s %s, bound %s", trim(got), unit, trim(bound)), got/bound
	}
	return t
}

// least judges a floor: got must be at least share of against.
func least(what, unit string, got, share, against float64, name string) target {
	t := most(what, unit, got, share, against, name)
	t.Must, t.Floor = fmt.Sprintf("≥ %s × %s", trim(share), name), true
	return t
}

// atMost judges a ceiling in absolute numbers.
func atMost(what, unit string, got, bound float64) target {
	t := most(what, unit, got, 1, bound, "")
	t.Must = fmt.Sprintf("≤ %s %s", trim(bound), unit)
	if !t.Absent {
		t.Got = fmt.Sprintf("%s %s", trim(got), unit)
	}
	return t
}

// trim shows three significant digits, more only before the point.
func trim(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// judge compares a run with every line of the table; a line whose numbers are
// missing stays, as not measured.
func judge(r *results) []target {
	return slices.Concat(judgePublish(r), judgeQueries(r), judgeFanout(r), judgeLarge(r), judgeIdle(r))
}

func judgePublish(r *results) []target {
	cpu := func(x round) float64 { return x.Publish.CPUMicros }
	rate := func(x round) float64 { return x.Publish.PerSecond }
	bare := r.of(nameBare, cpu)
	// Of the two ways to run the floor the one that is harder on us counts.
	floorCPU := min(floorOf(r.Floor, floorMicros), floorOf(r.Overlap, floorMicros))
	floorRate := max(floorOf(r.Floor, floorPerSecond), floorOf(r.Overlap, floorPerSecond))
	out := []target{
		most("durable publish, CPU per event, bare", "µs", bare, 1.0/8, r.of(nameKhatru, cpu), "khatru's"),
		most("durable publish, CPU per event, bare", "µs", bare, 1.6, floorCPU, "the floor's"),
		least("durable publish, events/s, bare", "ev/s", r.of(nameBare, rate), 9, r.of(nameKhatru, rate), "khatru's"),
		least("durable publish, events/s, bare", "ev/s", r.of(nameBare, rate), 0.6, floorRate, "the floor's"),
		most("durable publish with word index and graph, CPU per event", "µs", r.of(nameFull, cpu), 1.35, bare, "bare"),
		atMost("duplicate publish, CPU per event", "µs", r.of(nameBare, func(x round) float64 { return x.Duplicate.CPUMicros }), 60),
	}
	if len(r.Rounds[nameKhatruC]) > 0 {
		c := most("durable publish, CPU per event, khatru given the C signature check", "µs", bare, 1.0/8, r.of(nameKhatruC, cpu), "that khatru's")
		c.Noted = true
		out = append(out, c)
	}
	return out
}

func floorMicros(f floored) float64    { return f.CPUMicros }
func floorPerSecond(f floored) float64 { return f.PerSecond }

// floorOf is the median over the rounds.
func floorOf(runs []floored, value func(floored) float64) float64 {
	var all []float64
	for _, f := range runs {
		all = append(all, value(f))
	}
	return median(all)
}

func judgeQueries(r *results) []target {
	bounds := []struct {
		name  string
		share float64
	}{{queryKinds, 1.0 / 9}, {queryFeed, 0.5}, {queryProfiles, 1}, {queryTime, 1.0 / 5}}
	var out []target
	for _, b := range bounds {
		p50 := func(x round) float64 { return millis(x.Queries[b.name].P50) }
		out = append(out, most(b.name+", p50", "ms", r.of(nameFull, p50), b.share, r.of(nameKhatru, p50), "khatru's"))
	}
	return out
}

func judgeFanout(r *results) []target {
	var cpus []float64
	for _, f := range r.Bare {
		cpus = append(cpus, f.CPUMicros)
	}
	cpu := func(x round) float64 { return x.Fanout.CPUMicros }
	p50 := func(x round) float64 { return millis(x.Fanout.P50) }
	what := fmt.Sprintf("fan-out to %d subscribers, ", r.Crowd.Listeners)
	return []target{
		most(what+"CPU per delivery", "µs", r.of(nameFull, cpu), 1.3, median(cpus), "a bare net.Conn.Write's"),
		most(what+"CPU per delivery", "µs", r.of(nameFull, cpu), 0.5, r.of(nameKhatru, cpu), "khatru's"),
		most(what+"p50", "ms", r.of(nameFull, p50), 1, r.of(nameKhatru, p50), "khatru's"),
	}
}

func judgeLarge(r *results) []target {
	l := r.Large
	if l == nil {
		l = &large{}
	}
	const mb = 1e6
	lines := fmt.Sprintf("%d events, ", l.Events)
	pages := most(fmt.Sprintf("paging %d events of one author and kind, last page", l.Paging.Rows), "ms", millis(l.Paging.Last), 1.5, millis(l.Paging.First), "the first page")
	if l.Paging.Rows != l.Paging.Expected {
		pages.Ratio, pages.Got = 1e9, fmt.Sprintf("%d of %d events came", l.Paging.Rows, l.Paging.Expected)
	}
	return []target{
		pages,
		atMost(lines+"start", "s", l.Start.Seconds(), 1),
		atMost(lines+"idle RSS without the page cache", "MB", float64(l.RSSAnon)/mb, 80),
		most(lines+"disk, the store", "MB", float64(l.StoreDisk)/mb, 2.5, float64(l.JSON)/mb, "the JSON"),
		most(lines+"disk, word index and graph included", "MB", float64(l.DataDisk)/mb, 2.5, float64(l.JSON)/mb, "the JSON"),
		atMost(lines+"NEG-OPEN over the whole set to the first frame", "ms", millis(l.Negentropy), 200),
	}
}

func judgeIdle(r *results) []target {
	i := r.Idle[nameFull]
	return []target{atMost(fmt.Sprintf("%d idle subscribed connections, each", i.Conns), "KB", float64(i.PerConn)/1000, 60)}
}
