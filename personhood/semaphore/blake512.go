package semaphore

import (
	"encoding/binary"
	"math/bits"
)

// blakeIV are SHA-512's initial values, which BLAKE-512 shares.
var blakeIV = [8]uint64{
	0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
	0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
}

// blakeC are the first digits of pi.
var blakeC = [16]uint64{
	0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 0x082efa98ec4e6c89,
	0x452821e638d01377, 0xbe5466cf34e90c6c, 0xc0ac29b7c97c50dd, 0x3f84d5b5b5470917,
	0x9216d5d98979fb1b, 0xd1310ba698dfb5ac, 0x2ffd72dbd01adfb7, 0xb8e1afed6a267e96,
	0xba7c9045f12c7f99, 0x24a19947b3916cf7, 0x0801f2e2858efc16, 0x636920d871574e69,
}

var blakeSigma = [10][16]byte{
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	{14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
	{11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
	{7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
	{9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
	{2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
	{12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
	{13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
	{6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
	{10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
}

// blake512 is BLAKE-512, the SHA-3 finalist of 2010 (not BLAKE2), of at most
// one block: up to 111 bytes. zk-kit derives the secret scalar with it.
func blake512(data []byte) (sum [64]byte) {
	if len(data) > 111 {
		panic("semaphore: blake512 takes one block")
	}
	var block [128]byte
	copy(block[:], data)
	block[len(data)] |= 0x80
	block[111] |= 1
	length := uint64(len(data)) * 8
	binary.BigEndian.PutUint64(block[120:], length)
	h := blakeBlock(blakeIV, &block, length)
	for i, w := range h {
		binary.BigEndian.PutUint64(sum[8*i:], w)
	}
	return sum
}

func blakeBlock(h [8]uint64, block *[128]byte, length uint64) [8]uint64 {
	var m, v [16]uint64
	for i := range m {
		m[i] = binary.BigEndian.Uint64(block[8*i:])
	}
	copy(v[:], h[:])
	copy(v[8:], blakeC[:8])
	v[12] ^= length
	v[13] ^= length
	for r := range 16 {
		s := &blakeSigma[r%10]
		mixing := func(i, a, b, c, d int) {
			x, y := s[2*i], s[2*i+1]
			v[a] += v[b] + (m[x] ^ blakeC[y])
			v[d] = bits.RotateLeft64(v[d]^v[a], -32)
			v[c] += v[d]
			v[b] = bits.RotateLeft64(v[b]^v[c], -25)
			v[a] += v[b] + (m[y] ^ blakeC[x])
			v[d] = bits.RotateLeft64(v[d]^v[a], -16)
			v[c] += v[d]
			v[b] = bits.RotateLeft64(v[b]^v[c], -11)
		}
		for i := range 4 {
			mixing(i, i, 4+i, 8+i, 12+i)
		}
		for i := range 4 {
			mixing(4+i, i, 4+(i+1)%4, 8+(i+2)%4, 12+(i+3)%4)
		}
	}
	for i := range h {
		h[i] ^= v[i] ^ v[i+8]
	}
	return h
}
