package host

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"agora/personhood/semaphore"
)

// Audited is what a log says.
type Audited struct {
	Members []byte // the members file
	Sources []Counted
}

// Counted is how many were let in by one kind of evidence, removed ones
// included.
type Counted struct {
	Source, Class string
	People        int
}

// Audit follows a log line by line and holds it to the state it was published
// with. It needs nothing from who keeps the group but the two.
func Audit(text string, state State) (a Audited, err error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != state.Lines {
		return a, fmt.Errorf("the log has %d lines, the root stands on %d", len(lines), state.Lines)
	}
	var last [32]byte
	var leaves []semaphore.Element
	seen := map[semaphore.Element]bool{}
	for i, text := range lines {
		var line Line
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			return a, fmt.Errorf("line %d of the log: %w", i+1, err)
		}
		if line.N != i+1 || line.Prev != hex.EncodeToString(last[:]) {
			return a, fmt.Errorf("line %d of the log does not follow the line before", i+1)
		}
		last = sha256.Sum256([]byte(text))
		switch {
		case line.Op == opAdd && line.Leaf == len(leaves):
			e, err := semaphore.ParseHex(line.Commitment)
			if err != nil || e.IsZero() || seen[e] {
				return a, fmt.Errorf("line %d of the log lets nobody in, or somebody twice", i+1)
			}
			seen[e] = true
			leaves = append(leaves, e)
			a.count(line)
		case line.Op == opRemove && line.Leaf >= 0 && line.Leaf < len(leaves) && !leaves[line.Leaf].IsZero():
			leaves[line.Leaf] = semaphore.Element{}
		default:
			return a, fmt.Errorf("line %d of the log does what cannot be done", i+1)
		}
	}
	if hex.EncodeToString(last[:]) != state.Last {
		return a, fmt.Errorf("the log ends in %x, the root stands on %s", last, state.Last)
	}
	for _, leaf := range leaves {
		b := leaf.Bytes()
		a.Members = append(a.Members, b[:]...)
	}
	return a, nil
}

func (a *Audited) count(line Line) {
	i := slices.IndexFunc(a.Sources, func(c Counted) bool { return c.Source == line.Source && c.Class == line.Class })
	if i < 0 {
		i = len(a.Sources)
		a.Sources = append(a.Sources, Counted{Source: line.Source, Class: line.Class})
	}
	a.Sources[i].People++
}
