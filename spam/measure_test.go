package spam

import (
	"encoding/json"
	"os"
	"testing"
)

func TestTmpFit(t *testing.T) {
	samples := lines[Sample](t, "stream.jsonl.zst")
	c := NewClassifier(model(t), &Head{})
	h := c.Fit(samples, 3)
	c.head = h
	b := c.MeasureBursts(samples, 8, 1000)
	raw, _ := json.MarshalIndent(h, "", " ")
	t.Logf("%s\n%+v", raw, b)
	if os.Getenv("W") != "" {
		os.WriteFile("behaviour.json", raw, 0o644)
	}
}
