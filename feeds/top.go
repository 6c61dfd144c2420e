package feeds

import (
	"cmp"
	"slices"

	"agora/feeds/tally"
)

// top keeps what is worth most of all that it is given, the lower id first
// among equals.
type top[T any] struct {
	most  int
	list  []picked[T] // in no order
	floor float32     // what is worth less than this is not among the best
	full  bool
}

type picked[T any] struct {
	value float32
	id    tally.Key
	of    T
}

func newTop[T any](most int) *top[T] { return &top[T]{most: most} }

func (t *top[T]) add(value float32, id tally.Key, of T) {
	if t.full && value < t.floor {
		return
	}
	t.list = append(t.list, picked[T]{value, id, of})
	if len(t.list) >= 2*t.most {
		t.best()
	}
}

// best are those worth most, the best first.
func (t *top[T]) best() []picked[T] {
	slices.SortFunc(t.list, func(a, b picked[T]) int {
		if a.value != b.value {
			return cmp.Compare(b.value, a.value)
		}
		return slices.Compare(a.id[:], b.id[:])
	})
	if len(t.list) >= t.most {
		t.list, t.full = t.list[:t.most], true
		t.floor = t.list[t.most-1].value
	}
	return t.list
}

// first are the first of the best.
func (t *top[T]) first(most int) []T {
	list := t.best()
	out := make([]T, 0, min(most, len(list)))
	for _, p := range list[:cap(out)] {
		out = append(out, p.of)
	}
	return out
}
