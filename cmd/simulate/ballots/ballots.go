// Package ballots makes the electorate that the benchmarks and the storm test
// vote with: one seed names a group of 10,000, its poll, and who votes for what
// under which key and when. The proofs are real, so they take a quarter of a
// second each and differ from run to run; all else is the same every time.
package ballots

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"agora/personhood"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

// The electorate.
const (
	Members  = 10_000
	Fickle   = 50 // the first members, who vote several times
	Changes  = 4  // revotes of each fickle member
	Ballots  = Members + Fickle*Changes
	Opening  = nostr.Timestamp(1_788_220_800) // of the poll, 2026-09-01
	duration = 6 * 86400                      // seconds within which all votes fall
)

// Options of the poll, which is ranked.
func Options() []string { return []string{"tea", "coffee", "water", "juice", "milk"} }

// Electorate is everything but the proofs.
type Electorate struct {
	Group, RootLog, Poll nostr.Event
	Address              personhood.Address
	Members              *personhood.Members
	people               []*semaphore.Identity
}

// draw is 32 bytes that only the seed, a word and a number decide.
func draw(what string, i int) [32]byte {
	b := append([]byte("agora/ballots/1\x00"), what...)
	return sha256.Sum256(binary.BigEndian.AppendUint32(append(b, 0), uint32(i)))
}

// secret is a key to sign with.
func secret(what string, i int) string {
	k := draw(what, i)
	return hex.EncodeToString(k[:])
}

// New makes the electorate: some seconds of CPU.
func New() (*Electorate, error) {
	e := &Electorate{}
	var leaves []semaphore.Element
	for i := range Members {
		id := semaphore.IdentityOf(draw("person", i))
		e.people, leaves = append(e.people, id), append(leaves, id.Commitment())
	}
	var err error
	if e.Members, err = personhood.NewMembers(leaves); err != nil {
		return nil, err
	}
	public, err := nostr.GetPublicKey(secret("group", 0))
	if err != nil {
		return nil, err
	}
	e.Address = personhood.Address{Key: public, D: "ten-thousand"}
	snapshot := personhood.Snapshot{Group: e.Address, Class: "simulated"}.Next(e.Members, Opening-3600)
	e.Group, e.RootLog = snapshot.Events()
	e.Poll = nostr.Event{Kind: personhood.KindPoll, CreatedAt: Opening, Content: "What shall we drink?"}
	for _, o := range Options() {
		e.Poll.Tags = append(e.Poll.Tags, nostr.Tag{"option", o, o})
	}
	e.Poll.Tags = append(e.Poll.Tags, nostr.Tag{"polltype", "multiplechoice"}, nostr.Tag{"method", "ranked"},
		nostr.Tag{"pop", "semaphore4", e.Address.String(), semaphore.Hex(snapshot.Root), strconv.Itoa(semaphore.ProverDepth)})
	return e, errors.Join(e.Group.Sign(secret("group", 0)), e.RootLog.Sign(secret("group", 0)), e.Poll.Sign(secret("author", 0)))
}

// Voter says which member casts ballot i, and which of theirs it is: the
// fickle come first, with all their ballots.
func Voter(i int) (member, turn int) {
	if most := Fickle * (Changes + 1); i >= most {
		return i - most + Fickle, 0
	}
	return i / (Changes + 1), i % (Changes + 1)
}

// Template is ballot i without its proof, and the key it is signed with. Later
// turns of one member have later times.
func (e *Electorate) Template(i int) (ev nostr.Event, key string, by *semaphore.Identity) {
	member, turn := Voter(i)
	d := draw("ballot", i)
	at := int(binary.BigEndian.Uint32(d[:])) % (duration / (Changes + 1))
	ev = nostr.Event{
		Kind: personhood.KindBallot, CreatedAt: Opening + 60 + nostr.Timestamp(turn*duration/(Changes+1)+at),
		Tags: nostr.Tags{{"e", e.Poll.ID}},
	}
	options := Options()
	for n := 1 + int(d[4])%len(options); n > 0; n-- {
		o := int(d[5+n]) % len(options)
		ev.Tags = append(ev.Tags, nostr.Tag{"response", options[o]})
		options = append(options[:o], options[o+1:]...)
	}
	return ev, secret("key", i), e.people[member]
}

// Check says whether a made event is ballot i.
func (e *Electorate) Check(i int, ev *nostr.Event) error {
	want, key, _ := e.Template(i)
	public, err := nostr.GetPublicKey(key)
	if err != nil {
		return err
	}
	if ev.PubKey != public || ev.CreatedAt != want.CreatedAt || len(ev.Tags) != len(want.Tags)+2 {
		return fmt.Errorf("event %s is not ballot %d", ev.ID, i)
	}
	return nil
}
