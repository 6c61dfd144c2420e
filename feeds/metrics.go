package feeds

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	pages     *prometheus.CounterVec
	fallbacks *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
}

func newMetrics() metrics {
	return metrics{
		pages:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "agora_feeds_pages_total", Help: "pages given"}, []string{"ranked"}),
		fallbacks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "agora_feeds_fallbacks_total", Help: "rankings made by a fallback, by what went wrong"}, []string{"reason"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "agora_feeds_ranking_seconds", Help: "making a ranking, by part", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 12),
		}, []string{"part"}),
	}
}

func (m *metrics) register(to prometheus.Registerer, f *Feeds) error {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	for _, c := range []prometheus.Collector{
		m.pages, m.fallbacks, m.seconds,
		gauge("agora_feeds_rankings_bytes", "rankings kept for cursors", func() float64 {
			f.rankings.mu.Lock()
			defer f.rankings.mu.Unlock()
			return float64(f.rankings.bytes)
		}),
		gauge("agora_feeds_notes_kept", "notes whose facts are kept", func() float64 { return float64(f.notes.size()) }),
		gauge("agora_tally_notes_live", "live notes tallied", func() float64 { return float64(f.cfg.Tally.Stats().Notes) }),
		gauge("agora_tally_acts_held", "acts on notes and against authors", func() float64 { return float64(f.cfg.Tally.Stats().Acts) }),
		gauge("agora_tally_keys_held", "keys that wrote or did those", func() float64 { return float64(f.cfg.Tally.Stats().Keys) }),
		gauge("agora_tally_zaps_waiting", "receipts whose recipient's zap key is not known yet", func() float64 { return float64(f.cfg.Tally.Stats().Zaps) }),
	} {
		if err := to.Register(c); err != nil {
			return err
		}
	}
	return nil
}
