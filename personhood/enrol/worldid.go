package enrol

import (
	"context"
	_ "embed" // the production keys
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"agora/personhood/semaphore"
)

// World ID's production keys, public and under the MIT licence.
var (
	//go:embed keys/worldid3.json
	worldKey3 []byte
	//go:embed keys/worldid4.json
	worldKey4 []byte
)

// World3 admits holders of a World ID v3 (Orb), whose proof is checked here.
// Only whether its root is one of World's is asked elsewhere.
type World3 struct {
	App    string // "app_…" of the developer portal
	Action string // names group and epoch: a new one lets everybody in once more
	Roots  Roots

	key *semaphore.Key
}

// NewWorld3 reads the production key.
func NewWorld3(app, action string, roots Roots) (*World3, error) {
	key, err := semaphore.ParseKey(worldKey3)
	if err != nil {
		return nil, fmt.Errorf("a source of World ID v3: %w", err)
	}
	if !strings.HasPrefix(app, "app_") || action == "" {
		return nil, errors.New("a source of World ID v3 wants an app that begins with app_, and an action")
	}
	return &World3{App: app, Action: action, Roots: roots, key: key}, nil
}

// ID implements Source.
func (*World3) ID() string { return "worldid3" }

// Class implements Source.
func (*World3) Class() string { return "orb" }

// world3 is the evidence: what IDKit gives for verification level orb.
type world3 struct {
	Root      string `json:"merkle_root"`
	Nullifier string `json:"nullifier_hash"`
	Proof     string `json:"proof"`              // 0x and eight words
	Level     string `json:"verification_level"` // orb
}

// Signal is what a proof of World ID must be made for: the bytes of the
// commitment, given to IDKit as hex.
func Signal(commitment semaphore.Element) string { return "0x" + semaphore.Hex(commitment) }

func signalHash(commitment semaphore.Element) semaphore.Element {
	b := commitment.Bytes()
	return semaphore.HashToField(b[:])
}

// externalNullifier3 is what v3's nullifiers belong to.
func externalNullifier3(app, action string) semaphore.Element {
	hashed := semaphore.HashToField([]byte(app))
	b := hashed.Bytes()
	return semaphore.HashToField(append(b[:], action...))
}

// Verify implements Source.
func (s *World3) Verify(ctx context.Context, e Evidence) (Admission, error) {
	var in world3
	if err := read(e.Text, &in); err != nil {
		return Admission{}, err
	}
	if in.Level != "" && in.Level != "orb" {
		return Admission{}, refused("verification level %.20q: this group takes orb", in.Level)
	}
	root, err := element("merkle_root", in.Root)
	if err != nil {
		return Admission{}, err
	}
	nullifier, err := element("nullifier_hash", in.Nullifier)
	if err != nil {
		return Admission{}, err
	}
	proof, err := parseWords(in.Proof)
	if err != nil {
		return Admission{}, err
	}
	signal, external := signalHash(e.Commitment), externalNullifier3(s.App, s.Action)
	if s.key.Verify([]semaphore.Element{root, nullifier, signal, external}, proof) != nil {
		return Admission{}, refused("the proof does not verify: not this commitment (as signal), app or action")
	}
	forward, err := json.Marshal(map[string]string{
		"nullifier_hash": in.Nullifier, "merkle_root": in.Root, "proof": in.Proof, "verification_level": "orb",
		"action": s.Action, "signal_hash": "0x" + semaphore.Hex(signal),
	})
	if err != nil {
		return Admission{}, err
	}
	if err := known(ctx, s.Roots, Question{Root: root, Forward: forward}); err != nil {
		return Admission{}, err
	}
	n := nullifier.Bytes()
	return Admission{Source: s.ID(), Class: s.Class(), Commitment: e.Commitment, Unique: digest("worldid3", n[:])}, nil
}

// known asks whether a root is the vendor's.
func known(ctx context.Context, roots Roots, q Question) error {
	ok, err := roots.Valid(ctx, q)
	if err != nil {
		return fmt.Errorf("ask whether the root is World's: %w", err)
	}
	if !ok {
		return refused("the root is none of World's, or too old: make the proof anew")
	}
	return nil
}

// element reads 0x and at most 64 hex digits, below the order.
func element(name, text string) (e semaphore.Element, err error) {
	digits, ok := strings.CutPrefix(text, "0x")
	if !ok || digits == "" || len(digits) > 64 {
		return e, refused("%s is not 0x and at most 64 hex digits", name)
	}
	b, err := hex.DecodeString(strings.Repeat("0", 64-len(digits)) + digits)
	if err != nil {
		return e, refused("%s is not 0x and at most 64 hex digits", name)
	}
	if e, err = semaphore.ParseBytes([32]byte(b)); err != nil {
		return e, refused("%s is not below the field's order", name)
	}
	return e, nil
}

// parseWords reads eight words in one hex number, in Solidity's order.
func parseWords(text string) (p semaphore.Proof, err error) {
	digits, ok := strings.CutPrefix(text, "0x")
	if !ok || len(digits) != 8*64 {
		return p, refused("proof is not 0x and eight words of 64 hex digits")
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return p, refused("proof is not 0x and eight words of 64 hex digits")
	}
	points := make([]string, 8)
	for i := range points {
		points[i] = new(big.Int).SetBytes(b[32*i : 32*i+32]).String()
	}
	if p, err = semaphore.ParsePoints(points); err != nil {
		return p, refused("%v", err)
	}
	return p, nil
}

// World4 admits holders of a World ID 4 credential, whose proof is checked
// here. What the operator pins is what the proof has to be of: the protocol,
// the credential's issuer and schema, the relying party with its keys.
type World4 struct {
	RP           uint64 // relying party's id
	Action       string // names group and epoch
	IssuerSchema uint64
	Issuer       [2]semaphore.Element // its public key on Baby Jubjub
	OPRF         [2]semaphore.Element // public key of the relying party's nullifiers
	IssuedSince  uint64               // least time of issue that requests ask for, Unix seconds; 0: none
	Grace        time.Duration        // how long ago the credential may have expired; default 0
	Roots        Roots

	key *semaphore.Key
}

// The public inputs that are the same for everybody.
const (
	protocol4  = "4.0"
	treeDepth4 = 30
)

// NewWorld4 reads the production key.
func NewWorld4(s World4) (*World4, error) {
	var err error
	if s.key, err = semaphore.ParseKey(worldKey4); err != nil {
		return nil, fmt.Errorf("a source of World ID 4: %w", err)
	}
	if s.RP == 0 || s.IssuerSchema == 0 || s.Action == "" || s.Issuer[0].IsZero() || s.OPRF[0].IsZero() {
		return nil, errors.New("a source of World ID 4 wants rp, action, schema, and the keys of the issuer and of the relying party's nullifiers")
	}
	return &s, nil
}

// ID implements Source.
func (*World4) ID() string { return "worldid4" }

// Class implements Source.
func (*World4) Class() string { return "world4" }

// world4 is the evidence: IDKit's result with one response.
type world4 struct {
	Protocol    string     `json:"protocol_version"`
	Nonce       string     `json:"nonce"`
	Action      string     `json:"action"`
	Description string     `json:"action_description,omitempty"` // not looked at
	Environment string     `json:"environment"`
	Responses   []response `json:"responses"`
}

// response is one credential's. identifier is what somebody calls the
// credential; only the schema's number counts.
type response struct {
	Identifier string   `json:"identifier"`
	Signal     string   `json:"signal_hash"`
	Schema     uint64   `json:"issuer_schema_id"`
	Proof      []string `json:"proof"` // four words, and the root
	Nullifier  string   `json:"nullifier"`
	Expires    uint64   `json:"expires_at_min"` // Unix seconds; the credential lasts longer
}

// Verify implements Source.
func (s *World4) Verify(ctx context.Context, e Evidence) (Admission, error) {
	var in world4
	if err := read(e.Text, &in); err != nil {
		return Admission{}, err
	}
	switch {
	case in.Protocol != protocol4:
		return Admission{}, refused("protocol version %.10q: this group takes %s", in.Protocol, protocol4)
	case in.Environment != "production":
		return Admission{}, refused("environment %.20q: this group takes production", in.Environment)
	case len(in.Responses) != 1:
		return Admission{}, refused("%d responses: want one", len(in.Responses))
	case in.Responses[0].Schema != s.IssuerSchema:
		return Admission{}, refused("issuer schema %d: this group takes %d", in.Responses[0].Schema, s.IssuerSchema)
	}
	r := &in.Responses[0]
	if time.Unix(int64(min(r.Expires, 1<<40)), 0).Add(s.Grace).Before(time.Now()) {
		return Admission{}, refused("the proof speaks of a credential that may have expired")
	}
	public, proof, err := s.inputs(&in, r, signalHash(e.Commitment))
	if err != nil {
		return Admission{}, err
	}
	if s.key.Verify(public, proof) != nil {
		return Admission{}, refused("the proof does not verify: not this commitment (as signal), action, relying party or issuer")
	}
	// Not the text as it came: of a key that stands there twice, others may read
	// the other one.
	forward, err := json.Marshal(in)
	if err != nil {
		return Admission{}, err
	}
	if err := known(ctx, s.Roots, Question{Root: public[6], Forward: forward}); err != nil {
		return Admission{}, err
	}
	n := public[0].Bytes()
	return Admission{Source: s.ID(), Class: s.Class(), Commitment: e.Commitment, Unique: digest("worldid4", n[:])}, nil
}

// inputs are the circuit's fifteen, in its order; what the operator pins is
// not read from the evidence.
func (s *World4) inputs(in *world4, r *response, signal semaphore.Element) (public []semaphore.Element, proof semaphore.Proof, err error) {
	nullifier, err := element("nullifier", r.Nullifier)
	if err != nil {
		return nil, proof, err
	}
	nonce, err := element("nonce", in.Nonce)
	if err != nil {
		return nil, proof, err
	}
	if len(r.Proof) != 5 {
		return nil, proof, refused("proof has %d words, want 5", len(r.Proof))
	}
	var words [4][32]byte
	for i := range words {
		if words[i], err = word(r.Proof[i]); err != nil {
			return nil, proof, err
		}
	}
	root, err := element("the proof's root", r.Proof[4])
	if err != nil {
		return nil, proof, err
	}
	if proof, err = semaphore.ParseCompressed(words); err != nil {
		return nil, proof, refused("%v", err)
	}
	n := func(v uint64) (e semaphore.Element) { e.SetUint64(v); return e }
	return []semaphore.Element{
		nullifier, n(s.IssuerSchema), s.Issuer[0], s.Issuer[1], n(r.Expires), n(s.IssuedSince), root, n(treeDepth4),
		n(s.RP), semaphore.HashToField([]byte(s.Action)), s.OPRF[0], s.OPRF[1], signal, nonce, {},
	}, proof, nil
}

// word reads 0x and at most 64 hex digits, any number of 256 bits.
func word(text string) (w [32]byte, err error) {
	digits, ok := strings.CutPrefix(text, "0x")
	if !ok || digits == "" || len(digits) > 64 {
		return w, refused("a word of the proof is not 0x and at most 64 hex digits")
	}
	b, err := hex.DecodeString(strings.Repeat("0", 64-len(digits)) + digits)
	if err != nil {
		return w, refused("a word of the proof is not 0x and at most 64 hex digits")
	}
	return [32]byte(b), nil
}
