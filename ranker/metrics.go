package ranker

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	runs       *prometheus.HistogramVec // by result
	loads      *prometheus.HistogramVec // by result
	candidates prometheus.Counter
}

func newMetrics() metrics {
	buckets := []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3, 10}
	return metrics{
		runs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "agora_ranker_score_seconds", Help: "time to score one batch, waiting included", Buckets: buckets,
		}, []string{"result"}),
		loads: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "agora_ranker_load_seconds", Help: "time to load one model", Buckets: buckets,
		}, []string{"result"}),
		candidates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "agora_ranker_candidates_total", Help: "candidates scored",
		}),
	}
}

func (m metrics) register(to prometheus.Registerer, held func() int) error {
	return errors.Join(to.Register(m.runs), to.Register(m.loads), to.Register(m.candidates),
		to.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "agora_ranker_models_loaded", Help: "models on the shelf",
		}, func() float64 { return float64(held()) })))
}

func (m metrics) count(took time.Duration, candidates int, err error) {
	m.runs.WithLabelValues(result(err)).Observe(took.Seconds())
	if err == nil {
		m.candidates.Add(float64(candidates))
	}
}

func result(err error) string {
	if err == nil {
		return "ok"
	}
	return Reason(err)
}
