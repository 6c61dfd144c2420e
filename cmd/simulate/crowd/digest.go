package crowd

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
)

//go:embed crowd.go doc.go notes.go people.go real.go sessions.go
var sources embed.FS

// Digest is the SHA-256 of this package's sources, one after the other in the
// order of their names, in hex: the name of the simulator.
func Digest() string {
	h := sha256.New()
	for _, name := range []string{"crowd.go", "doc.go", "notes.go", "people.go", "real.go", "sessions.go"} {
		raw, err := sources.ReadFile(name)
		if err != nil {
			panic(err) // it is embedded
		}
		h.Write(raw)
	}
	return hex.EncodeToString(h.Sum(nil))
}
