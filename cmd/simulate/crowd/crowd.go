package crowd

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
)

// Family is a way to behave.
type Family uint8

// The families.
const (
	Interest Family = iota // topic, favourites, quality
	Habit                  // favours returned, the crowd, freshness; tires; never trained on
)

func (f Family) String() string { return [...]string{"interest", "habit"}[f] }

// Config of a crowd. A zero field means the default beside it.
type Config struct {
	Seed    uint64
	Family  Family
	Days    int // 10
	Authors int // of the graph's keys; 4,000
	Listed  int // viewers that have a follow list; 800
	Bare    int // viewers that have none; 400
	Spam    int // keys that write spam; 150
	Ring    int // keys that like that spam; 300
}

func (c *Config) defaults() error {
	for _, d := range []struct {
		field *int
		value int
	}{{&c.Days, 10}, {&c.Authors, 4000}, {&c.Listed, 800}, {&c.Bare, 400}, {&c.Spam, 150}, {&c.Ring, 300}} {
		if *d.field < 0 {
			return errors.New("crowd: a number in the configuration is negative")
		}
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return nil
}

// Deed is what somebody did.
type Deed uint8

// The deeds.
const (
	Write Deed = iota
	Like
	Dislike
	Emoji
	Reply
	Repost
	Quote
	Zap
	Report
	Deeds // how many there are
)

// Act is one deed. The note of a Write is the written one.
type Act struct {
	At   int64 // Unix seconds
	Who  int32 // place in Log.Keys
	Note int32 // place in Log.Notes
	Msat int64 // of a Zap, millisats
	Deed Deed
}

// Note is one note.
type Note struct {
	ID     string // hex
	At     int64  // Unix seconds
	Author int32
	Text   string
}

// Log is what happened: a crowd's, or a real relay's read into the same form.
type Log struct {
	Keys    []string  // hex public keys
	Follows [][]int32 // by key; nil: no list
	Mutes   [][]int32
	Notes   []Note
	Acts    []Act // by time
	Readers []int32
	Spam    map[int32]bool // keys known to spam; nil: not known
	Start   int64          // Unix seconds
	End     int64
}

// Make makes a crowd on the graph and out of the texts.
func Make(cfg Config, real *Real) (*Log, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	w := newWorld(cfg, real)
	w.people()
	w.write()
	w.spam()
	slices.SortStableFunc(w.log.Acts, byTime)
	w.live()
	slices.SortStableFunc(w.log.Acts, byTime)
	return w.log, nil
}

func byTime(a, b Act) int { return cmp.Compare(a.At, b.At) }

// start is the first moment of every crowd.
const (
	start = 1_750_032_000 // Monday, 16 June 2025, 00:00 UTC
	day   = 86400
	hour  = 3600
)

func newWorld(cfg Config, real *Real) *world {
	keys := slices.Clone(real.Keys)
	follows, mutes := slices.Clone(real.Follows), slices.Clone(real.Mutes)
	return &world{
		cfg: cfg, real: real, rand: rand.New(rand.NewPCG(cfg.Seed, 0x63726f7764)),
		log: &Log{Keys: keys, Follows: follows, Mutes: mutes, Start: start, End: start + int64(cfg.Days)*day},
	}
}
