package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
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
	line    string
	leaf    int
	remove  bool              // the line is a removal
	who     semaphore.Element // of an addition
	unique  [32]byte
	expires int64
	inviter [32]byte
	by      [32]byte
	quota   int
}

// bytes are the line, and behind its end the rest in words: quick to read, for
// all of them are at every start.
func (r *record) bytes() []byte {
	who := ""
	if !r.remove {
		who = semaphore.Hex(r.who)
	}
	return fmt.Appendf(nil, "%s\n%x %d %x %x %d %d %s", r.line, r.unique, r.expires, r.inviter, r.by, r.quota, r.leaf, who)
}

// parseRecord reads what bytes wrote.
func parseRecord(value []byte) (r record, err error) {
	line, rest, ok := strings.Cut(string(value), "\n")
	words := strings.Split(rest, " ")
	if !ok || len(words) != 7 {
		return r, errors.New("it is not a line and seven words")
	}
	r.line, r.remove = line, words[6] == ""
	if !r.remove {
		if r.who, err = semaphore.ParseHex(words[6]); err != nil {
			return r, err
		}
	}
	if r.leaf, err = strconv.Atoi(words[5]); err != nil {
		return r, err
	}
	for at, into := range map[int]*[32]byte{0: &r.unique, 2: &r.inviter, 3: &r.by} {
		if n, err := hex.Decode(into[:], []byte(words[at][:min(len(words[at]), 64)])); err != nil || n != 32 {
			return r, errors.New("one of its keys has not 64 digits")
		}
	}
	if r.expires, err = strconv.ParseInt(words[1], 10, 64); err != nil {
		return r, err
	}
	r.quota, err = strconv.Atoi(words[4])
	return r, err
}

// member is one leaf.
type member struct {
	commitment semaphore.Element
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
		r, err := parseRecord(value)
		if err != nil {
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
	r.line = string(text)
	if err := l.shelf.SetMeta(ctx, l.key(line.N), r.bytes()); err != nil {
		return fmt.Errorf("write the log of the group: %w", err)
	}
	return l.take(r)
}

// begins is how the line of an entry begins, and ends how it ends: what the
// entry does and after which line. All lines are read at every start, so they
// are compared and not parsed.
func (l *ledger) begins(r *record) string {
	n, leaf := strconv.Itoa(len(l.lines)+1), strconv.Itoa(r.leaf)
	if r.remove {
		return `{"n":` + n + `,"op":"` + opRemove + `","leaf":` + leaf + `,"why":"`
	}
	return `{"n":` + n + `,"op":"` + opAdd + `","leaf":` + leaf + `,"commitment":"` + semaphore.Hex(r.who) + `",`
}

func (l *ledger) ends() string { return `"prev":"` + hex.EncodeToString(l.last[:]) + `"}` }

// take applies an entry to what follows from the log.
func (l *ledger) take(r record) error {
	if !strings.HasPrefix(r.line, l.begins(&r)) || !strings.HasSuffix(r.line, l.ends()) {
		return errors.New("it does not follow the line before, or does not say what it does")
	}
	if r.remove {
		if r.leaf < 0 || r.leaf >= len(l.members) || l.members[r.leaf].removed {
			return fmt.Errorf("it removes leaf %d, which is not there", r.leaf)
		}
		l.members[r.leaf].removed = true
	} else if err := l.add(r); err != nil {
		return err
	}
	l.lines = append(l.lines, r.line)
	l.ops = append(l.ops, op{r.leaf, r.remove})
	l.last = sha256.Sum256([]byte(r.line))
	return nil
}

func (l *ledger) add(r record) error {
	if _, taken := l.spent[r.unique]; taken || r.leaf != len(l.members) {
		return errors.New("it lets somebody in twice")
	}
	l.spent[r.unique], l.leaves[r.who] = r.leaf, r.leaf
	if r.inviter != ([32]byte{}) {
		l.keys[r.inviter] = r.leaf
	}
	l.members = append(l.members, member{commitment: r.who, expires: r.expires, inviter: r.inviter, by: r.by, quota: r.quota})
	return nil
}

// enrol writes an admission down.
func (l *ledger) enrol(ctx context.Context, a enrol.Admission, text string) error {
	sum := sha256.Sum256([]byte(text))
	r := record{unique: a.Unique, leaf: len(l.members), who: a.Commitment}
	if !a.Expires.IsZero() {
		r.expires = a.Expires.Unix()
	}
	if i := a.Inviter; i != nil {
		r.by, r.quota, r.inviter = i.By, i.Quota, i.Key
	}
	return l.write(ctx, Line{
		Op: opAdd, Leaf: len(l.members), Commitment: semaphore.Hex(a.Commitment),
		Source: a.Source, Class: a.Class, Evidence: hex.EncodeToString(sum[:]),
	}, r)
}

// remove writes a removal down.
func (l *ledger) remove(ctx context.Context, leaf int, why string) error {
	return l.write(ctx, Line{Op: opRemove, Leaf: leaf, Why: why}, record{leaf: leaf, remove: true})
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
