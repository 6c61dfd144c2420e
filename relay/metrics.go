package relay

import (
	"fmt"
	"time"

	"agora/relay/admit"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what an operator watches. All names begin with agora_relay_.
type metrics struct {
	connections   prometheus.Gauge
	subscriptions prometheus.Gauge
	events        *prometheus.CounterVec   // by origin and outcome
	gates         *prometheus.CounterVec   // by gate
	questions     *prometheus.HistogramVec // by label
	delivered     prometheus.Counter
	lagging       prometheus.Counter
	dropped       prometheus.Counter
	received      prometheus.Counter
	sent          prometheus.Counter
	bad           prometheus.Counter
	throttled     prometheus.Counter
	failures      prometheus.Counter
	turnedAway    *prometheus.CounterVec // by reason
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "agora_relay_" + name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "agora_relay_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "agora_relay_" + name, Help: help})
	}
	m := &metrics{
		connections:   gauge("connections", "Open websocket connections."),
		subscriptions: gauge("subscriptions", "Open subscriptions."),
		events:        vec("events_total", "Events handed in, by way in and what came of them.", "origin", "outcome"),
		gates:         vec("refused_total", "Events refused, by the gate that did.", "gate"),
		questions: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "agora_relay_question_seconds", Help: "Time from the turn of a REQ, COUNT or NEG message to its answer, the client's reading included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"label"}),
		delivered:  counter("delivered_total", "Live events put into outboxes."),
		lagging:    counter("lagging_total", "Times a subscription fell behind and was sent on to the log."),
		dropped:    counter("dropped_total", "Ephemeral events dropped because an outbox was full."),
		received:   counter("received_bytes_total", "Bytes of client messages, inflated."),
		sent:       counter("sent_bytes_total", "Bytes written by answerers; live events not included."),
		bad:        counter("bad_messages_total", "Messages that could not be parsed."),
		throttled:  counter("throttled_total", "Times a socket was left unread because of the bytes budget."),
		failures:   counter("failures_total", "Answers that began with error: because of a fault of ours."),
		turnedAway: vec("turned_away_total", "Connections refused, by reason.", "reason"),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.connections, m.subscriptions, m.events, m.gates, m.questions, m.delivered, m.lagging, m.dropped,
		m.received, m.sent, m.bad, m.throttled, m.failures, m.turnedAway,
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the relay's metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) published(o admit.Origin, reply Reply, err error) {
	outcome := "refused"
	switch {
	case err != nil:
		outcome = "error"
	case reply.Outcome != 0:
		outcome = reply.Outcome.String()
	case reply.OK:
		outcome = "passed"
	}
	m.events.WithLabelValues(o.String(), outcome).Inc()
}

func (m *metrics) refused(gate string) { m.gates.WithLabelValues(gate).Inc() }

func (m *metrics) question(j *job, took time.Duration) {
	label := j.m.Label
	if j.sub != nil {
		label = "REQ"
	}
	m.questions.WithLabelValues(label).Observe(took.Seconds())
}
