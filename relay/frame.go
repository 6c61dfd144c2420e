package relay

import (
	"encoding/binary"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// Websocket frames as a server writes them (RFC 6455 section 5.2): unmasked,
// never fragmented.
const (
	opText  = 0x81 // FIN, text
	opClose = 0x88
	opPing  = 0x89
	opPong  = 0x8a
	rsv1    = 0x40 // the payload is deflated (RFC 7692)
)

// appendHeader appends a frame's first bytes, for a payload of n bytes.
func appendHeader(dst []byte, op byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, op, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, op, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, op, 127), uint64(n))
}

// appendText appends payload as one text frame, deflated when the client has
// agreed to it and it pays.
func (m *memory) appendText(dst, payload []byte, deflated bool) []byte {
	if !deflated || len(payload) < deflateFrom {
		return append(appendHeader(dst, opText, len(payload)), payload...)
	}
	return m.appendDeflated(dst, nil, payload)
}

// deflateFrom is the size from which a payload is deflated, in bytes: below
// it the saving is smaller than a TCP segment's header and costs the same.
const deflateFrom = 512

// body is the part of an EVENT message that all its receivers share: the
// record and the closing bracket. It is deflated at most once.
type body struct {
	plain    []byte
	squeezed []byte // empty: nobody wanted it yet
}

// reset makes b the body of another record.
func (b *body) reset(record []byte) {
	b.plain = append(append(b.plain[:0], record...), ']')
	b.squeezed = b.squeezed[:0]
}

// appendShared appends the text frame head + b. The head differs for each
// receiver; it goes before the shared deflated blocks as a stored block, so
// that nothing is deflated twice.
func (m *memory) appendShared(dst, head []byte, b *body, deflated bool) []byte {
	if !deflated || len(b.plain) < deflateFrom {
		dst = appendHeader(dst, opText, len(head)+len(b.plain))
		return append(append(dst, head...), b.plain...)
	}
	if len(b.squeezed) == 0 {
		b.squeezed = m.deflate(b.squeezed, b.plain)
	}
	return frameDeflated(dst, head, b.squeezed)
}

// appendDeflated appends head + payload as one deflated text frame.
func (m *memory) appendDeflated(dst, head, payload []byte) []byte {
	buf := m.slips.take()
	*buf = m.deflate(*buf, payload)
	dst = frameDeflated(dst, head, *buf)
	m.slips.give(buf)
	return dst
}

func frameDeflated(dst, head, squeezed []byte) []byte {
	if len(head) == 0 {
		dst = appendHeader(dst, opText|rsv1, len(squeezed))
		return append(dst, squeezed...)
	}
	dst = appendHeader(dst, opText|rsv1, 5+len(head)+len(squeezed))
	// A stored block (RFC 1951 section 3.2.4): type 0, LEN, its complement.
	n := uint16(len(head))
	dst = append(dst, 0)
	dst = binary.LittleEndian.AppendUint16(dst, n)
	dst = binary.LittleEndian.AppendUint16(dst, ^n)
	return append(append(dst, head...), squeezed...)
}

// deflater is a reusable compressor and where it writes.
type deflater struct {
	out []byte
	w   *flate.Writer
}

func (d *deflater) Write(p []byte) (int, error) {
	d.out = append(d.out, p...)
	return len(p), nil
}

// memory lends what is needed for a moment by many connections.
type memory struct {
	pages     bufferPool // one page of rows
	slips     bufferPool // a few small frames
	deflaters sync.Pool  // *deflater, some 100 KiB each
}

func newMemory() *memory {
	m := &memory{pages: bufferPool{most: 2 * pageSize}, slips: bufferPool{most: 64 << 10}}
	m.deflaters.New = func() any {
		d := new(deflater)
		d.w, _ = flate.NewWriter(io.Discard, flate.BestSpeed) // the level is a constant: no error
		return d
	}
	return m
}

// deflate appends payload as RFC 7692 wants it: blocks without a context from
// before, flushed, and the flush's last four bytes left off.
func (m *memory) deflate(dst, payload []byte) []byte {
	d, _ := m.deflaters.Get().(*deflater)
	d.out = dst
	d.w.Reset(d)
	_, _ = d.w.Write(payload) // deflater.Write has no errors
	_ = d.w.Flush()
	out := d.out
	d.out = nil
	m.deflaters.Put(d)
	return out[:len(out)-4]
}

// bufferPool lends byte slices of about one size.
type bufferPool struct {
	pool sync.Pool
	most int // bytes; a larger one is not kept
}

func (p *bufferPool) take() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}

func (p *bufferPool) give(b *[]byte) {
	if cap(*b) > p.most {
		return
	}
	*b = (*b)[:0]
	p.pool.Put(b)
}
