package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// NegSet is an ordered set of keys to be reconciled; *store.Set and NegVector
// are. Ranges include lo and exclude hi. The set may change between calls:
// reconciliation converges on what each call saw.
type NegSet interface {
	// Sum adds up the ids of the range, read as little-endian numbers, mod 2^256
	// (four words, least significant first), and counts them.
	Sum(ctx context.Context, lo, hi NegKey) (sum [4]uint64, n int, err error)
	// Keys lists the range in ascending order, at most limit keys.
	Keys(ctx context.Context, lo, hi NegKey, limit int) ([]NegKey, error)
	// Cut finds a bound above lo with about k keys between the two, as short as
	// it may be: an id that ends in zeros is sent without them. k is at least 1;
	// NegEnd when the set ends before.
	Cut(ctx context.Context, lo NegKey, k int) (NegKey, error)
}

// Reconciler runs one side of a reconciliation over a set. It holds no state
// between frames.
type Reconciler struct {
	Set   NegSet
	Frame int               // bytes of the largest frame we send; at least 4,096
	Have  func(key NegKey)  // initiator: we hold it, they do not; may be nil
	Need  func(id [32]byte) // initiator: they hold it, we do not; may be nil
}

const (
	negBuckets = 16   // parts a differing range is split into, as in the reference implementation
	negRoom    = 1300 // bytes: the most a split writes, and the closing fingerprint
	negPage    = 4096 // keys read at once when an initiator compares lists
)

// Open is the initiator's first frame.
func (r *Reconciler) Open(ctx context.Context) ([]byte, error) {
	w := newNegWriter()
	err := r.split(ctx, w, NegKey{}, NegEnd())
	return w.buf, err
}

// Answer is the responder's frame to an initiator's. A version we do not
// speak is answered by the one we do; a frame that cannot be read is an error
// that wraps ErrNegFrame.
func (r *Reconciler) Answer(ctx context.Context, frame []byte) ([]byte, error) {
	if len(frame) == 0 {
		return nil, fmt.Errorf("%w: empty", ErrNegFrame)
	}
	if frame[0] != NegVersion {
		return []byte{NegVersion}, nil
	}
	return r.walk(ctx, frame, r.answerList)
}

// Follow is the initiator's next frame; nil when all is known.
func (r *Reconciler) Follow(ctx context.Context, frame []byte) ([]byte, error) {
	if len(frame) == 0 || frame[0] != NegVersion {
		return nil, fmt.Errorf("%w: the other side speaks another version", ErrNegFrame)
	}
	next, err := r.walk(ctx, frame, r.compareList)
	if err != nil || len(next) == 1 {
		return nil, err
	}
	return next, nil
}

// walk answers range by range, until the frame is read or ours is full; then
// one fingerprint stands for all that is left.
func (r *Reconciler) walk(ctx context.Context, frame []byte, list listFunc) ([]byte, error) {
	in := negReader{rest: frame[1:]}
	w := newNegWriter()
	for lo := (NegKey{}); in.more(); {
		g, err := in.next()
		if err != nil {
			return nil, err
		}
		whole, err := r.step(ctx, w, lo, g, list)
		if err != nil {
			return nil, err
		}
		if !whole || len(w.buf) > r.Frame-negRoom {
			return r.closeOff(ctx, w)
		}
		lo = g.upper
	}
	return w.buf, nil
}

// listFunc deals with a list of ids and says whether the range is dealt with
// to its end.
type listFunc func(ctx context.Context, w *negWriter, lo NegKey, g negRange) (whole bool, err error)

func (r *Reconciler) step(ctx context.Context, w *negWriter, lo NegKey, g negRange, list listFunc) (bool, error) {
	switch g.mode {
	case negIDList:
		return list(ctx, w, lo, g)
	case negFingerprint:
		sum, n, err := r.Set.Sum(ctx, lo, g.upper)
		if err != nil {
			return false, err
		}
		if fingerprint(sum, n) != g.print {
			return true, r.split(ctx, w, lo, g.upper)
		}
	}
	w.skipTo(g.upper)
	return true, nil
}

func (r *Reconciler) closeOff(ctx context.Context, w *negWriter) ([]byte, error) {
	w.flushSkip()
	if w.done == NegEnd() {
		return w.buf, nil
	}
	sum, n, err := r.Set.Sum(ctx, w.done, NegEnd())
	if err != nil {
		return nil, err
	}
	w.print(NegEnd(), fingerprint(sum, n))
	return w.buf, nil
}

// answerList is the responder's: our own ids of that range, as many as fit.
func (r *Reconciler) answerList(ctx context.Context, w *negWriter, lo NegKey, g negRange) (bool, error) {
	fit := max(1, (r.Frame-negRoom-len(w.buf))/negIDSize)
	keys, err := r.Set.Keys(ctx, lo, g.upper, fit+1)
	if err != nil {
		return false, err
	}
	if len(keys) > fit {
		w.idList(keys[fit], keys[:fit])
		return false, nil
	}
	w.idList(g.upper, keys)
	return true, nil
}

// compareList is the initiator's: what only one side holds is reported, and
// nothing more need be said about the range.
func (r *Reconciler) compareList(ctx context.Context, w *negWriter, lo NegKey, g negRange) (bool, error) {
	theirs := make(map[[32]byte]struct{}, len(g.ids)/negIDSize)
	for id := range slices.Chunk(g.ids, negIDSize) {
		theirs[[32]byte(id)] = struct{}{}
	}
	for from := lo; ; {
		keys, err := r.Set.Keys(ctx, from, g.upper, negPage)
		if err != nil {
			return false, err
		}
		for _, k := range keys {
			id := [32]byte(k[8:])
			if _, both := theirs[id]; both {
				delete(theirs, id)
			} else if r.Have != nil {
				r.Have(k)
			}
		}
		if len(keys) < negPage {
			break
		}
		from = NegAfter(keys[len(keys)-1])
	}
	for id := range theirs {
		if r.Need != nil {
			r.Need(id)
		}
	}
	w.skipTo(g.upper)
	return true, nil
}

// split says more about a range that differs: its ids when they are few, else
// fingerprints of its parts.
func (r *Reconciler) split(ctx context.Context, w *negWriter, lo, hi NegKey) error {
	_, n, err := r.Set.Sum(ctx, lo, hi)
	if err != nil {
		return err
	}
	if n < negBuckets*2 {
		keys, err := r.Set.Keys(ctx, lo, hi, negBuckets*2)
		if err != nil {
			return err
		}
		w.idList(hi, keys)
		return nil
	}
	for i := range negBuckets {
		upper, err := r.bucketEnd(ctx, lo, hi, n, i)
		if err != nil {
			return err
		}
		sum, held, err := r.Set.Sum(ctx, lo, upper)
		if err != nil {
			return err
		}
		w.print(upper, fingerprint(sum, held))
		if upper == hi {
			break
		}
		lo = upper
	}
	return nil
}

// bucketEnd is the upper bound of part i, which starts at lo, of n keys.
func (r *Reconciler) bucketEnd(ctx context.Context, lo, hi NegKey, n, i int) (NegKey, error) {
	if i == negBuckets-1 {
		return hi, nil
	}
	size := n / negBuckets
	if i < n%negBuckets {
		size++
	}
	at, err := r.Set.Cut(ctx, lo, size)
	if err != nil || bytes.Compare(at[:], hi[:]) >= 0 {
		return hi, err
	}
	return at, nil
}

// negShortest is the bound with the shortest prefix that parts two neighbours.
func negShortest(before, at NegKey) NegKey {
	k := at
	if negTime(&before) != negTime(&at) {
		clear(k[8:])
		return k
	}
	same := 8
	for same < len(k)-1 && before[same] == at[same] {
		same++
	}
	clear(k[same+1:])
	return k
}

// NegAfter is the next key in order.
func NegAfter(k NegKey) NegKey {
	for i := len(k) - 1; i >= 0; i-- {
		k[i]++
		if k[i] != 0 {
			break
		}
	}
	return k
}

// NegVector is a NegSet in memory: keys in ascending order, none twice.
type NegVector []NegKey

var _ NegSet = NegVector(nil)

// NewNegVector sorts keys, which it takes over, and drops repeats.
func NewNegVector(keys []NegKey) NegVector {
	slices.SortFunc(keys, func(a, b NegKey) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(keys)
}

func (v NegVector) rank(k NegKey) int {
	i, _ := slices.BinarySearchFunc(v, k, func(a, b NegKey) int { return bytes.Compare(a[:], b[:]) })
	return i
}

func (v NegVector) within(lo, hi NegKey) NegVector {
	from := v.rank(lo)
	return v[from:max(from, v.rank(hi))]
}

// Sum implements NegSet.
func (v NegVector) Sum(_ context.Context, lo, hi NegKey) ([4]uint64, int, error) {
	part := v.within(lo, hi)
	var sum [4]uint64
	for i := range part {
		sum = AddNegID(sum, part[i][8:])
	}
	return sum, len(part), nil
}

// Keys implements NegSet.
func (v NegVector) Keys(_ context.Context, lo, hi NegKey, limit int) ([]NegKey, error) {
	part := v.within(lo, hi)
	return part[:min(limit, len(part))], nil
}

// Cut implements NegSet.
func (v NegVector) Cut(_ context.Context, lo NegKey, k int) (NegKey, error) {
	i := v.rank(lo) + k
	if i >= len(v) {
		return NegEnd(), nil
	}
	return negShortest(v[i-1], v[i]), nil
}

// AddNegID adds an id, read as a little-endian number, to sum mod 2^256.
func AddNegID(sum [4]uint64, id []byte) [4]uint64 {
	var carry uint64
	for i := range sum {
		sum[i], carry = bits.Add64(sum[i], binary.LittleEndian.Uint64(id[i*8:]), carry)
	}
	return sum
}
