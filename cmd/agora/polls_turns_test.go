package main

import (
	"errors"
	"net/http"
	"testing"
	"time"
)

func TestAPollIsCountedByOneAndFewAreCountedAtOnce(t *testing.T) {
	turns, ctx := newTurns(), t.Context()
	busy := func(id string) {
		t.Helper()
		_, err := turns.take(ctx, id, time.Millisecond)
		if no, ok := errors.AsType[*httpProblem](err); !ok || no.status != http.StatusServiceUnavailable {
			t.Fatalf("a turn at %s: %v", id, err)
		}
	}
	one, err := turns.take(ctx, "one", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	busy("one")
	two, err := turns.take(ctx, "two", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	busy("three")
	two()
	three, err := turns.take(ctx, "three", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	one()
	three()
	if len(turns.each) != 0 || len(turns.all) != 0 {
		t.Errorf("left behind: %d polls, %d counts", len(turns.each), len(turns.all))
	}
}
