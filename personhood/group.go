package personhood

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"agora/personhood/semaphore"
	"agora/relay/lowhex"

	"github.com/nbd-wtf/go-nostr"
)

// The kinds of a group.
const (
	KindGroup   = 32191 // addressable: the group as it stands
	KindRootLog = 2191  // regular: one for each root that ever was; never replaced
)

// MaxMembers is the number of leaves below a root of depth 20.
const MaxMembers = 1 << semaphore.ProverDepth

// Address names a group: 32191:key:d.
type Address struct {
	Key string // 64 lower-case hex digits
	D   string
}

// ParseAddress reads 32191:key:d. The error is an *Invalid.
func ParseAddress(s string) (a Address, err error) {
	kind, rest, _ := strings.Cut(s, ":")
	key, d, ok := strings.Cut(rest, ":")
	if !ok || kind != strconv.Itoa(KindGroup) || !lowhex.Is(key, 64) || d == "" || len(d) > 128 {
		return a, invalid("group is not an address %d:key:name", KindGroup)
	}
	return Address{key, d}, nil
}

// String is the form ParseAddress reads.
func (a Address) String() string { return fmt.Sprintf("%d:%s:%s", KindGroup, a.Key, a.D) }

// Snapshot is a group at one moment: what its event and its root log carry.
type Snapshot struct {
	Group   Address
	Root    semaphore.Element
	Seq     int               // counts up from 1
	Prev    semaphore.Element // the root before; zero for the first
	Size    int               // leaves, removed ones included
	Members [32]byte          // SHA-256 of the members file
	At      nostr.Timestamp   // when it was published

	Class string   // 32191 only: which kind of evidence lets one in
	URLs  []string // 32191 only: where the members file is
}

// ParseSnapshot reads a group's event (32191) or an entry of its root log
// (2191). It does not check the signature. The error is an *Invalid.
func ParseSnapshot(ev *nostr.Event) (s Snapshot, err error) {
	if s, err = place(ev); err != nil {
		return s, err
	}
	fields := map[string]string{}
	for _, name := range []string{"root", "seq", "prev", "size", "x"} {
		tag, err := single(ev, name)
		if err != nil {
			return s, err
		}
		if len(tag) < 2 {
			return s, invalid("%s tag is empty", name)
		}
		fields[name] = tag[1]
	}
	if s.Root, err = semaphore.ParseHex(fields["root"]); err != nil {
		return s, invalid("root is not 64 lower-case hex digits below the field's order")
	}
	if s.Seq, err = count(fields["seq"], 1<<40); err != nil || s.Seq == 0 {
		return s, invalid("seq is not a number from 1")
	}
	if s.Size, err = count(fields["size"], MaxMembers); err != nil || s.Size == 0 {
		return s, invalid("size is not a number from 1 to %d", MaxMembers)
	}
	if s.Prev, err = semaphore.ParseHex(fields["prev"]); err != nil && (s.Seq != 1 || fields["prev"] != "") {
		return s, invalid("prev is not the root before")
	}
	if !lowhex.Is(fields["x"], 64) {
		return s, invalid("x is not a SHA-256")
	}
	_, _ = hex.Decode(s.Members[:], []byte(fields["x"])) // 64 digits, as we have just seen
	s.At = ev.CreatedAt
	return s, nil
}

// place reads which group an event speaks of, and what only 32191 carries.
func place(ev *nostr.Event) (s Snapshot, err error) {
	switch ev.Kind {
	case KindGroup:
		d, err := single(ev, "d")
		if err != nil {
			return s, err
		}
		if len(d) < 2 {
			return s, invalid("d tag is empty")
		}
		if s.Group, err = ParseAddress(fmt.Sprintf("%d:%s:%s", KindGroup, ev.PubKey, d[1])); err != nil {
			return s, err
		}
		depth, err := single(ev, "depth")
		if err != nil || len(depth) < 2 || depth[1] != depthWord {
			return s, invalid("depth must be %s", depthWord)
		}
		if class := first(ev, "class"); len(class) > 1 {
			s.Class = class[1]
		}
		for _, tag := range ev.Tags {
			if len(tag) > 1 && tag[0] == "url" {
				s.URLs = append(s.URLs, tag[1])
			}
		}
		return s, nil
	case KindRootLog:
		a, err := single(ev, "a")
		if err != nil {
			return s, err
		}
		if len(a) < 2 {
			return s, invalid("a tag is empty")
		}
		if s.Group, err = ParseAddress(a[1]); err != nil {
			return s, err
		}
		if s.Group.Key != ev.PubKey {
			return s, invalid("root log is not by the group's own key")
		}
		return s, nil
	}
	return s, invalid("kind %d is no group", ev.Kind)
}

// count reads a number without sign or leading zeros, at most most.
func count(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most || strconv.Itoa(n) != s {
		return 0, invalid("%.20q is not a number up to %d", s, most)
	}
	return n, nil
}

// Events are the group's event and its next root log entry, unsigned.
func (s Snapshot) Events() (group, log nostr.Event) {
	prev := ""
	if s.Seq > 1 {
		prev = semaphore.Hex(s.Prev)
	}
	facts := nostr.Tags{
		{"root", semaphore.Hex(s.Root)}, {"seq", strconv.Itoa(s.Seq)}, {"prev", prev},
		{"size", strconv.Itoa(s.Size)}, {"x", hex.EncodeToString(s.Members[:])},
	}
	group = nostr.Event{PubKey: s.Group.Key, Kind: KindGroup, CreatedAt: s.At}
	group.Tags = append(nostr.Tags{{"d", s.Group.D}, {"depth", depthWord}}, facts...)
	if s.Class != "" {
		group.Tags = append(group.Tags, nostr.Tag{"class", s.Class})
	}
	for _, u := range s.URLs {
		group.Tags = append(group.Tags, nostr.Tag{"url", u})
	}
	log = nostr.Event{PubKey: s.Group.Key, Kind: KindRootLog, CreatedAt: s.At}
	log.Tags = append(nostr.Tags{{"a", s.Group.String()}}, facts...)
	return group, log
}

// Members is the whole list of a group's members, in the order of their
// leaves: the only thing anybody fetches, for who asks for one path says who
// they are.
type Members struct{ tree *semaphore.Tree }

// NewMembers are these commitments; zero stands for a removed member.
func NewMembers(leaves []semaphore.Element) (*Members, error) {
	if len(leaves) > MaxMembers {
		return nil, invalid("group has %d members, at most %d fit", len(leaves), MaxMembers)
	}
	tree, err := semaphore.NewTree(leaves)
	if err != nil {
		return nil, err
	}
	return &Members{tree}, nil
}

// ParseMembers reads a members file: 32 bytes a leaf, big-endian, below the
// field's order. The error is an *Invalid.
func ParseMembers(file []byte) (*Members, error) {
	leaves, err := parseElements(file)
	if err != nil {
		return nil, err
	}
	return NewMembers(leaves)
}

// File is the form ParseMembers reads.
func (m *Members) File() []byte {
	file := make([]byte, 0, 32*m.tree.Size())
	for _, leaf := range m.tree.Leaves() {
		b := leaf.Bytes()
		file = append(file, b[:]...)
	}
	return file
}

// Tree is the tree of the members. It must not be changed.
func (m *Members) Tree() *semaphore.Tree { return m.tree }

// People is the number of members that were not removed: the size of the
// crowd that one hides in.
func (m *Members) People() (n int) {
	for _, leaf := range m.tree.Leaves() {
		if !leaf.IsZero() {
			n++
		}
	}
	return n
}

// Find is the place of a commitment; false when it is not a member.
func (m *Members) Find(commitment semaphore.Element) (int, bool) {
	i := m.tree.IndexOf(commitment)
	return i, i >= 0
}

// Add lets a person in once. It reports false when they are in already.
func (m *Members) Add(commitment semaphore.Element) (bool, error) {
	if m.tree.IndexOf(commitment) >= 0 {
		return false, nil
	}
	if m.tree.Size() >= MaxMembers {
		return false, invalid("group is full")
	}
	return true, m.tree.Insert(commitment)
}

// Remove sets the leaf of a member to zero. It reports false when there is none.
func (m *Members) Remove(commitment semaphore.Element) (bool, error) {
	i, ok := m.Find(commitment)
	if !ok {
		return false, nil
	}
	return true, m.tree.Remove(i)
}

// Matches holds a members file to the snapshot that names it: its hash, its
// size and the root that grows out of it. The error is an *Invalid.
func (s Snapshot) Matches(file []byte) (*Members, error) {
	if sum := sha256.Sum256(file); sum != s.Members {
		return nil, invalid("members file has the SHA-256 %x, the group names %x", sum, s.Members)
	}
	m, err := ParseMembers(file)
	if err != nil {
		return nil, err
	}
	if m.tree.Size() != s.Size {
		return nil, invalid("members file has %d leaves, the group names %d", m.tree.Size(), s.Size)
	}
	if m.tree.Root() != s.Root {
		return nil, invalid("members file gives another root than the group names")
	}
	return m, nil
}

// Next is the snapshot after s, for these members.
func (s Snapshot) Next(m *Members, at nostr.Timestamp) Snapshot {
	n := s
	n.Prev, n.Root, n.Seq, n.Size, n.At = s.Root, m.tree.Root(), s.Seq+1, m.tree.Size(), at
	n.Members = sha256.Sum256(m.File())
	return n
}
