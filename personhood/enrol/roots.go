package enrol

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"agora/personhood/semaphore"

	"golang.org/x/crypto/sha3"
)

// Roots knows which roots are World's: a list, a chain's node, or the vendor's
// API.
type Roots interface {
	Valid(ctx context.Context, q Question) (bool, error)
}

// Question is what is asked about a root.
type Question struct {
	Root    semaphore.Element
	Forward []byte // what the vendor's API takes: the whole proof, in JSON
}

// RootList is roots that the operator has looked up; for tests and for groups
// that were filled at one time.
type RootList []semaphore.Element

// Valid implements Roots.
func (l RootList) Valid(_ context.Context, q Question) (bool, error) {
	return slices.Contains(l, q.Root), nil
}

// Doer sends one HTTP request; the guarded dialer's client does.
type Doer interface {
	Do(req *http.Request) (*http.Response, error)
}

// RPC asks a contract by Ethereum's JSON-RPC, one eth_call a question; Remember
// makes fewer of them.
type RPC struct {
	Client   Doer
	URL      string
	Contract string // 0x and 40 hex digits
	Version  int    // 3: an identity manager's queryRoot; 4: World ID's registry's isValidRoot
}

// mostReply bounds an answer, in bytes.
const mostReply = 64 << 10

// Valid implements Roots.
func (c RPC) Valid(ctx context.Context, q Question) (bool, error) {
	method := "isValidRoot(uint256)"
	if c.Version == 3 {
		method = "queryRoot(uint256)"
	}
	root := q.Root.Bytes()
	out, err := c.call(ctx, append(selector(method), root[:]...))
	if err != nil {
		return false, err
	}
	one := make([]byte, 32)
	one[31] = 1
	if c.Version != 3 {
		if len(out) != 32 || !bytes.Equal(out, one) && !bytes.Equal(out, make([]byte, 32)) {
			return false, fmt.Errorf("%s answers %s with %d bytes that are no truth value: is %s the registry?", c.URL, method, len(out), c.Contract)
		}
		return bytes.Equal(out, one), nil
	}
	if len(out) != 96 {
		return false, fmt.Errorf("%s answers %s with %d bytes, want 96: is %s an identity manager?", c.URL, method, len(out), c.Contract)
	}
	return bytes.Equal(out[:32], root[:]) && bytes.Equal(out[64:], one), nil
}

// selector names a contract's method.
func selector(method string) []byte {
	h := sha3.NewLegacyKeccak256()
	h.Write([]byte(method))
	return h.Sum(nil)[:4]
}

func (c RPC) call(ctx context.Context, data []byte) ([]byte, error) {
	body, err := json.Marshal(map[string]any{
		"jsonrpc": "2.0", "id": 1, "method": "eth_call",
		"params": []any{map[string]string{"to": c.Contract, "data": "0x" + hex.EncodeToString(data)}, "latest"},
	})
	if err != nil {
		return nil, err
	}
	status, reply, err := post(ctx, c.Client, c.URL, body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Result string `json:"result"`
		Error  *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(reply, &answer); err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d and no JSON-RPC", c.URL, status)
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("%s: %s", c.URL, answer.Error.Message)
	}
	digits, ok := strings.CutPrefix(answer.Result, "0x")
	if !ok {
		return nil, fmt.Errorf("%s answers without a result", c.URL)
	}
	return hex.DecodeString(digits)
}

// API asks the vendor's own service, which sees the proof and the commitment's
// hash, but not who asks to join.
type API struct {
	Client Doer
	URL    string // https://developer.worldcoin.org/api/v2/verify/app_… or …/api/v4/verify/rp_…
}

// Valid implements Roots.
func (a API) Valid(ctx context.Context, q Question) (bool, error) {
	status, reply, err := post(ctx, a.Client, a.URL, q.Forward)
	if err != nil {
		return false, err
	}
	var answer struct {
		Success bool   `json:"success"`
		Code    string `json:"code"`
	}
	if err := json.Unmarshal(reply, &answer); err != nil {
		return false, fmt.Errorf("%s answers %d and no JSON", a.URL, status)
	}
	switch {
	case status == http.StatusOK && answer.Success:
		return true, nil
	case status == http.StatusBadRequest:
		return false, nil
	}
	return false, fmt.Errorf("%s answers %d %s", a.URL, status, answer.Code)
}

func post(ctx context.Context, client Doer, url string, body []byte) (status int, reply []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	reply, err = io.ReadAll(io.LimitReader(res.Body, mostReply))
	return res.StatusCode, reply, errors.Join(err, res.Body.Close())
}
