package search

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// stats are the room's metrics.
type stats struct {
	lag       prometheus.Histogram
	query     prometheus.Histogram
	behind    prometheus.Gauge
	documents prometheus.Gauge
	bytes     prometheus.Gauge
	segments  prometheus.Gauge
	dropped   prometheus.Counter
	cut       prometheus.Counter

	reg prometheus.Registerer
}

func newStats(reg prometheus.Registerer) (*stats, error) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "agora_search_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "agora_search_" + name, Help: help})
	}
	s := &stats{
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "agora_search_lag_seconds", Help: "From a change's commit until it can be found, by batch: its oldest change.",
			Buckets: []float64{.05, .1, .2, .3, .5, .75, 1, 1.5, 2, 3, 5, 10, 30, 120, 600},
		}),
		query: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "agora_search_query_seconds", Help: "Reading the index for one page of hits.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5},
		}),
		behind:    gauge("behind_changes", "Changes of the log that cannot be found yet."),
		documents: gauge("documents_events", "Events that can be found."),
		bytes:     gauge("size_bytes", "Size of the index on disk, without free pages."),
		segments:  gauge("segments_count", "Segments a query looks into."),
		dropped:   counter("dropped_events_total", "Events dropped from the index for its budget, oldest first."),
		cut:       counter("cut_queries_total", "Queries that reached their deadline and ranked what was found by then."),
		reg:       reg,
	}
	if reg == nil {
		return s, nil
	}
	var err error
	for _, c := range s.all() {
		err = errors.Join(err, reg.Register(c))
	}
	return s, err
}

func (s *stats) all() []prometheus.Collector {
	return []prometheus.Collector{s.lag, s.query, s.behind, s.documents, s.bytes, s.segments, s.dropped, s.cut}
}

func (s *stats) unregister() {
	if s.reg == nil {
		return
	}
	for _, c := range s.all() {
		s.reg.Unregister(c)
	}
}
