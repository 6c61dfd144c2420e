//go:build libsecp256k1

package wire

/*
// go-nostr compiles the library under the same build tag; these are public
// functions of it (secp256k1_extrakeys.h and secp256k1_schnorrsig.h). Called
// by themselves they spare the second hash of the event that go-nostr's own
// check computes, and the parsing of a key that was parsed a moment ago.
#include <stddef.h>

typedef struct secp256k1_context_struct secp256k1_context;
typedef struct { unsigned char data[64]; } secp256k1_xonly_pubkey;

extern const secp256k1_context *const secp256k1_context_static;
int secp256k1_xonly_pubkey_parse(const secp256k1_context *ctx, secp256k1_xonly_pubkey *key, const unsigned char *from);
int secp256k1_schnorrsig_verify(const secp256k1_context *ctx, const unsigned char *sig, const unsigned char *msg, size_t size, const secp256k1_xonly_pubkey *key);

static int parse_key(secp256k1_xonly_pubkey *key, const unsigned char *from) {
	return secp256k1_xonly_pubkey_parse(secp256k1_context_static, key, from);
}

static int verify(const unsigned char *sig, const unsigned char *id, const secp256k1_xonly_pubkey *key) {
	return secp256k1_schnorrsig_verify(secp256k1_context_static, sig, id, 32, key);
}

#cgo noescape parse_key
#cgo nocallback parse_key
#cgo noescape verify
#cgo nocallback verify
*/
import "C"

import "unsafe"

// point is a public key as the library wants it.
type point struct{ key C.secp256k1_xonly_pubkey }

// pointOf reads a key; false if it names no point of the curve.
func pointOf(key *[32]byte) (p point, ok bool) {
	ok = C.parse_key(&p.key, (*C.uchar)(unsafe.Pointer(&key[0]))) == 1
	return p, ok
}

// signed reports whether sig is the key's BIP-340 signature of id.
func (p *point) signed(id *[32]byte, sig *[64]byte) bool {
	return C.verify((*C.uchar)(unsafe.Pointer(&sig[0])), (*C.uchar)(unsafe.Pointer(&id[0])), &p.key) == 1
}
