package enrol

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"agora/personhood"
	"agora/personhood/semaphore"
)

// Source checks the evidence of one kind. An *Refused is a no, in words for
// the person who asks; any other error means that it could not tell.
type Source interface {
	// ID is the source's name, as the enrolment log has it.
	ID() string
	// Class is the class of those it admits.
	Class() string
	Verify(ctx context.Context, e Evidence) (Admission, error)
}

// Evidence is what somebody brings to become a member.
type Evidence struct {
	Group      personhood.Address
	Commitment semaphore.Element
	Text       string // JSON, as the package doc says
}

// Admission is a source's yes.
type Admission struct {
	Source, Class string
	Unique        [32]byte // the source's own nullifier: lets in one commitment, once
	Commitment    semaphore.Element
	Expires       time.Time // when membership ends; zero: it does not

	Inviter *Inviter // what the member may do for others; invitations only
}

// Refused says why evidence lets nobody in.
type Refused struct{ Reason string }

func (e *Refused) Error() string { return e.Reason }

func refused(format string, args ...any) error { return &Refused{fmt.Sprintf(format, args...)} }

// mostText bounds evidence, in bytes.
const mostText = 16 << 10

// IsPeople reports whether members of a class count as people.
func IsPeople(class string) bool { return class != "" && !strings.HasPrefix(class, "weight") }

// read parses evidence strictly: no key that is not asked for, nothing after.
func read(text string, into any) error {
	if len(text) > mostText {
		return refused("evidence of %d bytes is longer than %d", len(text), mostText)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return refused("evidence is not the JSON that this group's source takes: %v", err)
	}
	if d.More() {
		return refused("evidence has something behind its JSON")
	}
	return nil
}

// digest hashes parts under a name, each with its length before it.
func digest(name string, parts ...[]byte) [32]byte {
	var b bytes.Buffer
	b.WriteString("agora/" + name + "/1\x00")
	for _, p := range parts {
		_ = binary.Write(&b, binary.BigEndian, uint32(len(p))) // a Buffer takes all
		b.Write(p)
	}
	return sha256.Sum256(b.Bytes())
}

func unhex(s string, n int) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != n || hex.EncodeToString(b) != s {
		return nil, errors.New("want lower-case hex digits")
	}
	return b, nil
}
