package store

import (
	"crypto/sha256"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// Claimed reports whether a claim's key is taken, by an event that is held or
// by one that is gone. The commit of an event decides for itself; this only
// spares those who ask the work that comes before.
func (s *Store) Claimed(key []byte) (taken bool, err error) {
	hash := sha256.Sum256(key)
	err = s.view(func(txn *lmdb.Txn) error {
		_, err := txn.Get(s.t.claim, hash[:])
		taken = err == nil
		return ignoreNotFound(err)
	})
	return taken, err
}
