//go:build libsecp256k1

package main

// verifier is what checks signatures in this build.
const verifier = "libsecp256k1"
