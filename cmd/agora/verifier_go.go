//go:build !libsecp256k1

package main

// verifier is what checks signatures in this build. The C one, which
// `make build` takes, is more than four times as fast.
const verifier = "pure Go"
