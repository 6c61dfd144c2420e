package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"agora/personhood/enrol"
	"agora/personhood/semaphore"
)

// Shelf keeps small durable values; the store does.
type Shelf interface {
	Meta(key string) ([]byte, error)
	SetMeta(ctx context.Context, key string, value []byte) error
	MetaKeys(prefix string) ([]string, error)
}

// The operations of a line.
const (
	opAdd    = "add"
	opRemove = "remove"
)

// Line is the public half of an entry.
type Line struct {
	N          int    `json:"n"` // from 1
	Op         string `json:"op"`
	Leaf       int    `json:"leaf"`
	Commitment string `json:"commitment,omitempty"`
	Source     string `json:"source,omitempty"`
	Class      string `json:"class,omitempty"`
	Evidence   string `json:"evidence,omitempty"` // SHA-256 of the text
	Why        string `json:"why,omitempty"`
	Prev       string `json:"prev"`
}

// record is an entry as it is kept: the line byte by byte, and what stays
// between host and member.
type record struct {
	Line    string `json:"line"`
	Unique  string `json:"unique,omitempty"`
	Expires int64  `json:"expires,omitempty"`
	Inviter string `json:"inviter,omitempty"`
	By      string `json:"by,omitempty"`
	Quota   int    `json:"quota,omitempty"`
}

// member is one leaf.
type member struct {
	commitment semaphore.Element
	unique     [32]byte
	expires    int64
	inviter    [32]byte // zero: none
	by         [32]byte // zero: nobody's invitation
	quota      int
	removed    bool
}

// ledger is a group's log and what follows from it. Its owner locks.
type ledger struct {
	prefix  string
	shelf   Shelf
	lines   []string
	ops     []op // by line
	members []member
	spent   map[[32]byte]int          // unique -> leaf
	leaves  map[semaphore.Element]int // commitment -> leaf
	keys    map[[32]byte]int          // inviter -> leaf
	last    [32]byte                  // SHA-256 of the last line
}

// op is what a line does to a leaf.
type op struct {
	leaf   int
	remove bool
}

// openLedger reads a log and checks its chain.
func openLedger(shelf Shelf, d string) (*ledger, error) {
	l := &ledger{
		prefix: "person/group/" + d + "/", shelf: shelf,
		spent: map[[32]byte]int{}, leaves: map[semaphore.Element]int{}, keys: map[[32]byte]int{},
	}
	keys, err := shelf.MetaKeys(l.prefix)
	if err != nil {
		return nil, fmt.Errorf("list the log of group %s: %w", d, err)
	}
	for i, key := range keys {
		if key != l.key(i+1) {
			return nil, fmt.Errorf("the log of group %s is damaged: after %d lines comes %q", d, i, key)
		}
		value, err := shelf.Meta(key)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		var r record
		if err := json.Unmarshal(value, &r); err != nil {
			return nil, fmt.Errorf("the log of group %s is damaged at line %d: %w", d, i+1, err)
		}
		if err := l.take(r); err != nil {
			return nil, fmt.Errorf("the log of group %s is damaged at line %d: %w", d, i+1, err)
		}
	}
	return l, nil
}

func (l *ledger) key(n int) string { return fmt.Sprintf("%s%010d", l.prefix, n) }

// write makes a line durable, and only then true.
func (l *ledger) write(ctx context.Context, line Line, r record) error {
	line.N, line.Prev = len(l.lines)+1, hex.EncodeToString(l.last[:])
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	r.Line = string(text)
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := l.shelf.SetMeta(ctx, l.key(line.N), value); err != nil {
		return fmt.Errorf("write the log of the group: %w", err)
	}
	return l.take(r)
}

// take applies an entry to what follows from the log.
func (l *ledger) take(r record) error {
	var line Line
	if err := json.Unmarshal([]byte(r.Line), &line); err != nil {
		return err
	}
	if line.N != len(l.lines)+1 || line.Prev != hex.EncodeToString(l.last[:]) {
		return fmt.Errorf("it does not follow the line before")
	}
	switch line.Op {
	case opAdd:
		if err := l.add(line, r); err != nil {
			return err
		}
	case opRemove:
		if line.Leaf < 0 || line.Leaf >= len(l.members) || l.members[line.Leaf].removed {
			return fmt.Errorf("it removes leaf %d, which is not there", line.Leaf)
		}
		l.members[line.Leaf].removed = true
	default:
		return fmt.Errorf("it does %q", line.Op)
	}
	l.lines = append(l.lines, r.Line)
	l.ops = append(l.ops, op{line.Leaf, line.Op == opRemove})
	l.last = sha256.Sum256([]byte(r.Line))
	return nil
}

func (l *ledger) add(line Line, r record) (err error) {
	m := member{expires: r.Expires, quota: r.Quota}
	if m.commitment, err = semaphore.ParseHex(line.Commitment); err != nil {
		return err
	}
	for text, into := range map[string]*[32]byte{r.Unique: &m.unique, r.Inviter: &m.inviter, r.By: &m.by} {
		if text == "" {
			continue
		}
		if len(text) != 64 {
			return fmt.Errorf("a key of %d digits", len(text))
		}
		if _, err := hex.Decode(into[:], []byte(text)); err != nil {
			return err
		}
	}
	if _, taken := l.spent[m.unique]; taken || line.Leaf != len(l.members) {
		return fmt.Errorf("it lets somebody in twice")
	}
	l.spent[m.unique], l.leaves[m.commitment] = line.Leaf, line.Leaf
	if m.inviter != ([32]byte{}) {
		l.keys[m.inviter] = line.Leaf
	}
	l.members = append(l.members, m)
	return nil
}

// enrol writes an admission down.
func (l *ledger) enrol(ctx context.Context, a enrol.Admission, text string) error {
	sum := sha256.Sum256([]byte(text))
	r := record{Unique: hex.EncodeToString(a.Unique[:])}
	if !a.Expires.IsZero() {
		r.Expires = a.Expires.Unix()
	}
	if i := a.Inviter; i != nil {
		r.By, r.Quota = hex.EncodeToString(i.By[:]), i.Quota
		if i.Key != ([32]byte{}) {
			r.Inviter = hex.EncodeToString(i.Key[:])
		}
	}
	return l.write(ctx, Line{
		Op: opAdd, Leaf: len(l.members), Commitment: semaphore.Hex(a.Commitment),
		Source: a.Source, Class: a.Class, Evidence: hex.EncodeToString(sum[:]),
	}, r)
}

// remove writes a removal down.
func (l *ledger) remove(ctx context.Context, leaf int, why string) error {
	return l.write(ctx, Line{Op: opRemove, Leaf: leaf, Why: why}, record{})
}

// below are the leaves that a member invited, and those they invited in turn.
func (l *ledger) below(leaf int) (leaves []int) {
	children := map[[32]byte][]int{}
	for i, m := range l.members {
		if m.by != ([32]byte{}) {
			children[m.by] = append(children[m.by], i)
		}
	}
	wait := []int{leaf}
	seen := map[int]bool{leaf: true}
	for len(wait) > 0 {
		key := l.members[wait[0]].inviter
		wait = wait[1:]
		if key == ([32]byte{}) {
			continue
		}
		for _, child := range children[key] {
			if !seen[child] {
				seen[child] = true
				leaves, wait = append(leaves, child), append(wait, child)
			}
		}
	}
	return leaves
}

// leavesAt are all leaves as the first n lines have them.
func (l *ledger) leavesAt(n int) (leaves []semaphore.Element) {
	for _, o := range l.ops[:n] {
		if o.remove {
			leaves[o.leaf] = semaphore.Element{}
			continue
		}
		leaves = append(leaves, l.members[o.leaf].commitment)
	}
	return leaves
}

// text are the lines from after to n, as they are served.
func (l *ledger) text(after, n int) string {
	if after >= n {
		return ""
	}
	return strings.Join(l.lines[after:n], "\n") + "\n"
}
