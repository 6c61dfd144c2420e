// Package agora holds the rules of the house as tests; the program is in
// cmd/agora.
package agora
