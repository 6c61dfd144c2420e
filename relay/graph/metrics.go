package graph

import "github.com/prometheus/client_golang/prometheus"

// Graph is a prometheus.Collector; cmd/agora registers it.
var _ prometheus.Collector = (*Graph)(nil)

type gauge struct {
	name, help string
	kind       prometheus.ValueType
	value      func(*Graph) float64
}

func gauges() []gauge {
	return []gauge{
		{"agora_graph_keys", "Public keys that some list is by or names.", prometheus.GaugeValue,
			func(g *Graph) float64 { return float64(g.web.size()) }},
		{"agora_graph_follows", "Entries of all follow lists.", prometheus.GaugeValue,
			func(g *Graph) float64 { return float64(g.web.edges) }},
		{"agora_graph_lists", "Lists held, of all kinds.", prometheus.GaugeValue,
			func(g *Graph) float64 { return float64(g.web.lists) }},
		{"agora_graph_lag_positions", "Changes of the log that the graph has not read yet.", prometheus.GaugeValue,
			func(g *Graph) float64 { pos, _ := g.position(); return float64(max(pos, g.cfg.Store.Head()) - pos) }},
		{"agora_graph_personal_computed_total", "Personal rankings computed.", prometheus.CounterValue,
			func(g *Graph) float64 { return float64(g.views.computed) }},
		{"agora_graph_personal_cached_total", "Personal rankings answered out of the cache.", prometheus.CounterValue,
			func(g *Graph) float64 { return float64(g.views.hit) }},
		{"agora_graph_personal_refused_total", "Questions answered by the global ranking because too many were being computed.", prometheus.CounterValue,
			func(g *Graph) float64 { return float64(g.views.refused) }},
		{"agora_graph_personal_cache_bytes", "Memory of the personal rankings kept.", prometheus.GaugeValue,
			func(g *Graph) float64 { return float64(g.views.bytes) }},
	}
}

// Describe implements prometheus.Collector.
func (g *Graph) Describe(out chan<- *prometheus.Desc) {
	for _, m := range gauges() {
		out <- prometheus.NewDesc(m.name, m.help, nil, nil)
	}
}

// Collect implements prometheus.Collector.
func (g *Graph) Collect(out chan<- prometheus.Metric) {
	var values []float64
	g.mu.RLock()
	g.views.mu.Lock()
	for _, m := range gauges() {
		values = append(values, m.value(g))
	}
	g.views.mu.Unlock()
	g.mu.RUnlock()
	for i, m := range gauges() {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(m.name, m.help, nil, nil), m.kind, values[i])
	}
}
