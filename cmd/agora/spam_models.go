package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"agora/ranker"
	"agora/ranker/builtin"
	catalogue "agora/ranker/feature"
	"agora/ranker/onnx"
	"agora/spam"

	"github.com/prometheus/client_golang/prometheus"
)

// spamModel is the judge out of the embedded model, or the operator's.
func spamModel(file string) (*spam.Classifier, error) {
	model, err := spam.Shipped()
	if file != "" {
		raw, readErr := os.ReadFile(file)
		if readErr != nil {
			return nil, fmt.Errorf("%w: %w", spam.ErrModel, readErr)
		}
		model, err = spam.ReadModel(raw)
	}
	if err != nil {
		return nil, err
	}
	head, err := spam.ShippedHead()
	if err != nil {
		return nil, err
	}
	return spam.NewClassifier(model, head)
}

const spamSlug = "spam-words"

// spamRanker is the head of tier 0 as anybody's ranker is listed.
func spamRanker() builtin.Ranker {
	return builtin.Ranker{
		Slug: spamSlug, Name: "Words of spam",
		About:  "Likeliest spam first, by the words alone: the head of this relay's spam classifier. For moderators, and to see what it sees.",
		Digest: ranker.Sum(spam.Tier0ONNX()), Stages: []string{"from-global", "from-recent"}, Fallback: "latest", Licence: "MIT",
	}
}

// spamWording is what that ranker reads of a text: the sums and the structure.
func spamWording() (func(text string) []float32, error) {
	judge, err := spamModel("")
	if err != nil {
		return nil, err
	}
	return func(text string) []float32 { return judge.Wording(text)[:33:33] }, nil
}

// secondTime is how long a note waits for tier 1.
const secondTime = 100 * time.Millisecond

// secondOpinion asks tier 1; it is a spam.Second.
type secondOpinion struct {
	session ranker.Session
	plan    *catalogue.Plan
	wait    time.Duration          // at most, for one answer
	asked   *prometheus.CounterVec // nil: nobody counts
	pool    sync.Pool              // *secondBatch
}

type secondBatch struct {
	facts catalogue.Facts
	batch catalogue.Batch
}

// openSecond loads tier 1. Without a usable runtime the error is
// ranker.ErrNoRuntime, and tier 0 judges alone.
func openSecond(ctx context.Context, cfg Config, model []byte) (*secondOpinion, error) {
	cfg.Device = string(onnx.CPU) // one row at a time
	runtime, err := openRuntime(cfg, func(d ranker.Digest) bool { return d == ranker.Sum(model) })
	if err != nil {
		return nil, err
	}
	session, err := runtime.Load(ctx, model)
	if err != nil {
		return nil, fmt.Errorf("%w: tier 1: %w", spam.ErrModel, err)
	}
	plan, err := secondPlan(session.Inputs())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: tier 1: %w", spam.ErrModel, err), session.Close())
	}
	s := &secondOpinion{session: session, plan: plan, wait: secondTime}
	s.pool.New = func() any {
		note := &catalogue.Note{Wording: make([]float32, catalogue.WordingSize)}
		return &secondBatch{facts: catalogue.Facts{Candidates: []catalogue.Candidate{{Note: note}}}}
	}
	return s, nil
}

// secondPlan is the plan of a model that asks for what tier 1 is given, and for
// nothing else.
func secondPlan(inputs []catalogue.Input) (*catalogue.Plan, error) {
	for _, in := range inputs {
		if in.Name != "spam.structure" && in.Name != "spam.vector" {
			return nil, fmt.Errorf("it asks for %s, so it is another model", in.Name)
		}
	}
	return catalogue.Compile(inputs)
}

// Close waits for what is asked.
func (s *secondOpinion) Close() error {
	if s == nil {
		return nil
	}
	return s.session.Close()
}

// Logit asks the model about one text.
func (s *secondOpinion) Logit(ctx context.Context, structure, vector []float32) (float64, error) {
	b := s.pool.Get().(*secondBatch)
	defer s.pool.Put(b)
	row := b.facts.Candidates[0].Note.Wording
	copy(row[catalogue.WordingSize-len(vector)-len(structure):], structure)
	copy(row[catalogue.WordingSize-len(vector):], vector)
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	err := s.plan.Fill(&b.facts, &b.batch)
	var scores []float32
	if err == nil {
		scores, err = s.session.Score(ctx, b.batch)
	}
	if s.asked != nil {
		s.asked.WithLabelValues(orText(ranker.Reason(err), "answered")).Inc()
	}
	if err != nil {
		return 0, fmt.Errorf("tier 1: %w", err)
	}
	return float64(scores[0]), nil
}

func orText(s, or string) string {
	if s == "" {
		return or
	}
	return s
}
