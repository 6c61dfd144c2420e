package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// NegVersion is the first byte of every negentropy frame (protocol v1, NIP-77).
const NegVersion = 0x61

// NegKey places an event in a negentropy set: created_at as 8 bytes
// big-endian, then the 32 bytes of the id, so that comparing bytes compares
// (created_at, id). As a bound, the id may be a prefix padded with zeros.
type NegKey = [40]byte

// ErrNegFrame is behind every error about a frame that cannot be read.
var ErrNegFrame = errors.New("malformed negentropy frame")

// The three things a range can carry.
const (
	negSkip        = 0
	negFingerprint = 1
	negIDList      = 2
)

const (
	negPrintSize = 16 // bytes of a fingerprint
	negIDSize    = 32
)

// NegKeyOf is the key of an event; a negative created_at counts as 0.
func NegKeyOf(createdAt int64, id [32]byte) NegKey {
	var k NegKey
	binary.BigEndian.PutUint64(k[:8], uint64(max(createdAt, 0)))
	copy(k[8:], id[:])
	return k
}

// NegEnd is the bound above every key, the protocol's infinity.
func NegEnd() NegKey {
	var k NegKey
	for i := range k {
		k[i] = 0xff
	}
	return k
}

func negTime(k *NegKey) uint64 { return binary.BigEndian.Uint64(k[:8]) }

// fingerprint is the protocol's digest of n ids that sum up to sum.
func fingerprint(sum [4]uint64, n int) [negPrintSize]byte {
	buf := make([]byte, 0, 48)
	for _, word := range sum {
		buf = binary.LittleEndian.AppendUint64(buf, word)
	}
	full := sha256.Sum256(appendNegVarint(buf, uint64(n)))
	return [negPrintSize]byte(full[:])
}

// negRange is one range of a frame; it starts where the one before it ends.
type negRange struct {
	upper NegKey // exclusive
	mode  byte
	print [negPrintSize]byte // negFingerprint
	ids   []byte             // negIDList: whole ids, inside the frame
}

// negReader walks the ranges of a frame. It never allocates, and believes no
// count that the frame's own length does not cover.
type negReader struct {
	rest []byte
	time uint64 // of the bound before, deltas add to it
	prev NegKey
}

func (r *negReader) more() bool { return len(r.rest) > 0 }

func (r *negReader) next() (negRange, error) {
	var g negRange
	var err error
	if g.upper, err = r.bound(); err != nil {
		return g, err
	}
	if bytes.Compare(g.upper[:], r.prev[:]) < 0 {
		return g, fmt.Errorf("%w: bounds out of order", ErrNegFrame)
	}
	r.prev = g.upper
	mode, err := r.varint()
	if err != nil {
		return g, err
	}
	if mode > negIDList {
		return g, fmt.Errorf("%w: unknown mode %d", ErrNegFrame, mode)
	}
	g.mode = byte(mode)
	switch g.mode {
	case negFingerprint:
		b, err := r.take(negPrintSize)
		copy(g.print[:], b)
		return g, err
	case negIDList:
		g.ids, err = r.idList()
	}
	return g, err
}

func (r *negReader) idList() ([]byte, error) {
	n, err := r.varint()
	if err != nil {
		return nil, err
	}
	if n > uint64(len(r.rest)/negIDSize) {
		return nil, fmt.Errorf("%w: %d ids claimed, %d bytes left", ErrNegFrame, n, len(r.rest))
	}
	return r.take(int(n) * negIDSize)
}

func (r *negReader) bound() (NegKey, error) {
	var k NegKey
	delta, err := r.varint()
	if err != nil {
		return k, err
	}
	switch {
	case delta == 0:
		r.time = math.MaxUint64
	case delta-1 > math.MaxUint64-r.time:
		return k, fmt.Errorf("%w: time out of range", ErrNegFrame)
	default:
		r.time += delta - 1
	}
	size, err := r.varint()
	if err != nil {
		return k, err
	}
	if size > negIDSize {
		return k, fmt.Errorf("%w: bound of %d bytes", ErrNegFrame, size)
	}
	prefix, err := r.take(int(size))
	if err != nil {
		return k, err
	}
	if r.time == math.MaxUint64 {
		return NegEnd(), nil
	}
	binary.BigEndian.PutUint64(k[:8], r.time)
	copy(k[8:], prefix)
	return k, nil
}

func (r *negReader) take(n int) ([]byte, error) {
	if n > len(r.rest) {
		return nil, fmt.Errorf("%w: cut short", ErrNegFrame)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b, nil
}

// varint reads base 128, most significant digit first.
func (r *negReader) varint() (uint64, error) {
	var v uint64
	for i, b := range r.rest {
		if v > math.MaxUint64>>7 {
			return 0, fmt.Errorf("%w: number too large", ErrNegFrame)
		}
		v = v<<7 | uint64(b&0x7f)
		if b < 0x80 {
			r.rest = r.rest[i+1:]
			return v, nil
		}
	}
	return 0, fmt.Errorf("%w: cut short", ErrNegFrame)
}

func appendNegVarint(dst []byte, v uint64) []byte {
	shift := 0
	for rest := v >> 7; rest > 0; rest >>= 7 {
		shift += 7
	}
	for ; shift > 0; shift -= 7 {
		dst = append(dst, byte(v>>shift)|0x80)
	}
	return append(dst, byte(v&0x7f))
}

// negWriter builds a frame. Ranges that need no words are gathered into one
// skip, and a skip at the end is never written.
type negWriter struct {
	buf  []byte
	time uint64 // of the last bound written
	done NegKey // everything below is spoken for
	skip bool   // from the last bound written up to done there is nothing to say
}

func newNegWriter() *negWriter { return &negWriter{buf: []byte{NegVersion}} }

func (w *negWriter) skipTo(upper NegKey) { w.skip, w.done = true, upper }

func (w *negWriter) flushSkip() {
	if !w.skip {
		return
	}
	w.skip = false
	w.bound(w.done)
	w.buf = append(w.buf, negSkip)
}

func (w *negWriter) print(upper NegKey, print [negPrintSize]byte) {
	w.flushSkip()
	w.bound(upper)
	w.buf = append(w.buf, negFingerprint)
	w.buf = append(w.buf, print[:]...)
	w.done = upper
}

func (w *negWriter) idList(upper NegKey, keys []NegKey) {
	w.flushSkip()
	w.bound(upper)
	w.buf = append(w.buf, negIDList)
	w.buf = appendNegVarint(w.buf, uint64(len(keys)))
	for i := range keys {
		w.buf = append(w.buf, keys[i][8:]...)
	}
	w.done = upper
}

// bound leaves out the zeros at the id's end, which stand for themselves.
func (w *negWriter) bound(k NegKey) {
	t := negTime(&k)
	if t == math.MaxUint64 {
		w.time = t
		w.buf = append(w.buf, 0, 0)
		return
	}
	w.buf = appendNegVarint(w.buf, t-w.time+1)
	w.time = t
	prefix := bytes.TrimRight(k[8:], "\x00")
	w.buf = append(w.buf, byte(len(prefix)))
	w.buf = append(w.buf, prefix...)
}
