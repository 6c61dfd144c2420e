package main

import (
	"cmp"
	"slices"
	"time"
)

// quantile is the smallest value that at least the share q of all values do
// not exceed; 0 of none.
func quantile[T cmp.Ordered](values []T, q float64) T {
	var zero T
	if len(values) == 0 {
		return zero
	}
	sorted := slices.Sorted(slices.Values(values))
	i := int(q * float64(len(sorted)))
	return sorted[min(i, len(sorted)-1)]
}

func median[T cmp.Ordered](values []T) T { return quantile(values, 0.5) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
