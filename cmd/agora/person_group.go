package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"agora/personhood"
	"agora/personhood/host"
	"agora/personhood/semaphore"

	"github.com/urfave/cli/v3"
)

// groupHost is a relay that keeps groups, asked over HTTP. It never learns who
// asks: only whole files are fetched, and nothing is signed.
type groupHost struct {
	base   string
	client http.Client
}

// mostAnswer bounds an answer that is no members file; mostMembersFile one
// that is.
const (
	mostAnswer      = 1 << 20
	mostMembersFile = 32 * personhood.MaxMembers
)

func newGroupHost(relay string) (*groupHost, error) {
	u, err := url.Parse(relay)
	if err != nil || u.Host == "" {
		return nil, usagef("--relay: %q is no address: want wss://relay.example or https://relay.example", relay)
	}
	switch u.Scheme {
	case "ws", "http":
		u.Scheme = "http"
	case "wss", "https":
		u.Scheme = "https"
	default:
		return nil, usagef("--relay: %q is no address: want wss://relay.example or https://relay.example", relay)
	}
	return &groupHost{base: strings.TrimRight(u.String(), "/"), client: http.Client{Timeout: 2 * time.Minute}}, nil
}

// ask sends a request and reads the whole answer. What the host says no to is
// an error with its words.
func (h *groupHost) ask(ctx context.Context, method, path string, body []byte, header http.Header, most int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, h.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = header
	res, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("%s%s answers with more than %d bytes", h.base, path, most)
	}
	if res.StatusCode/100 == 2 {
		return text, nil
	}
	var no struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &no) == nil && no.Error != "" {
		return nil, errors.New(no.Error)
	}
	return nil, fmt.Errorf("%s%s answers %s", h.base, path, res.Status)
}

func (h *groupHost) get(ctx context.Context, path string, most int64) ([]byte, error) {
	return h.ask(ctx, http.MethodGet, path, nil, http.Header{}, most)
}

// state is a group, by name or address.
func (h *groupHost) state(ctx context.Context, group string) (s host.State, err error) {
	text, err := h.get(ctx, "/v1/groups/"+url.PathEscape(group), mostAnswer)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("%s tells no group: %w", h.base, err)
	}
	if address, err := personhood.ParseAddress(s.Group); err != nil || group != s.Group && group != address.D {
		return s, fmt.Errorf("%s tells of the group %q, not of %s", h.base, s.Group, group)
	}
	return s, nil
}

// join hands in a wish.
func (h *groupHost) join(ctx context.Context, group string, wish host.Wish) (out host.Joined, err error) {
	body, err := json.Marshal(wish)
	if err != nil {
		return out, err
	}
	text, err := h.ask(ctx, http.MethodPost, "/v1/groups/"+url.PathEscape(group)+"/join", body, http.Header{"Content-Type": {"application/json"}}, mostAnswer)
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(text, &out)
}

// among is what one needs to act as a member.
type among struct {
	group  string // address
	root   semaphore.Element
	way    semaphore.MerkleProof
	people int
}

// fetchAmong gets the whole members file of a group, or takes it from beside
// the identity, and finds the way in it.
func (h *groupHost) fetchAmong(ctx context.Context, cmd *cli.Command, id *semaphore.Identity) (c among, err error) {
	state, err := h.state(ctx, cmd.String("group"))
	if err != nil {
		return c, err
	}
	if state.Members == "" {
		return c, fmt.Errorf("the group %s has published no root yet; its next one is due within %s", state.D, time.Duration(state.Batch)*time.Second)
	}
	name, err := hex.DecodeString(state.Members)
	if err != nil || len(name) != sha256.Size {
		return c, fmt.Errorf("%s names no members file", h.base)
	}
	if c.root, err = semaphore.ParseHex(state.Root); err != nil {
		return c, fmt.Errorf("%s names no root", h.base)
	}
	c.group = state.Group
	dir := cmd.String("identity") + ".groups"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return c, err
	}
	path := filepath.Join(dir, state.Members)
	file, err := os.ReadFile(path)
	if err != nil || sha256.Sum256(file) != [32]byte(name) {
		if file, err = h.get(ctx, "/v1/members/"+state.Members, mostMembersFile); err != nil {
			return c, err
		}
		if sha256.Sum256(file) != [32]byte(name) {
			return c, fmt.Errorf("%s gives another members file than the group names", h.base)
		}
		if err := onlyFile(dir, state.Members, file); err != nil {
			return c, err
		}
	}
	if _, err := os.Stat(path + nodesEnd); err != nil {
		if nodes, err := h.get(ctx, "/v1/members/"+state.Members+"/nodes", mostMembersFile); err == nil {
			keepNodes(path, [32]byte(name), nodes)
		} // without them the whole file is hashed
	}
	if c.way, c.people, err = findWay(path, file, id.Commitment(), &c.root); errors.Is(err, semaphore.ErrNotMember) {
		err = fmt.Errorf("this identity is not in the group's last root, seq %d: after joining, wait for the next one (every %s)", state.Seq, time.Duration(state.Batch)*time.Second)
	}
	return c, err
}

// onlyFile keeps one members file in a directory: the older ones are of no use.
func onlyFile(dir, name string, file []byte) error {
	old, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range old {
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, name), file, 0o600)
}

// nodesEnd is added to the name of a members file for its nodes: the SHA-256 of
// the members file, then personhood.Members.Nodes.
const nodesEnd = ".nodes"

// keepNodes puts the nodes beside a members file. It is a convenience: where
// it cannot be written, the next proof hashes the whole file again.
func keepNodes(path string, name [32]byte, nodes []byte) {
	_ = os.WriteFile(path+nodesEnd, append(name[:], nodes...), 0o600)
}

// findWay finds the way with the nodes beside the file when they fit it, and
// otherwise by hashing all of it. want is the root to arrive at; nil: any.
func findWay(path string, file []byte, commitment semaphore.Element, want *semaphore.Element) (way semaphore.MerkleProof, people int, err error) {
	name := sha256.Sum256(file)
	if kept, err := os.ReadFile(path + nodesEnd); err == nil && len(kept) > len(name) && [32]byte(kept[:32]) == name {
		way, people, err := personhood.FindWay(file, kept[32:], commitment)
		if errors.Is(err, semaphore.ErrNotMember) || err == nil && (want == nil || way.Root() == *want) {
			return way, people, err
		}
	}
	members, err := personhood.ParseMembers(file)
	if err != nil {
		return way, 0, err
	}
	keepNodes(path, name, members.Nodes())
	i, ok := members.Find(commitment)
	if !ok {
		return way, members.People(), semaphore.ErrNotMember
	}
	if want != nil && members.Tree().Root() != *want {
		return way, 0, errors.New("the members file gives another root than the group names")
	}
	way, err = members.Tree().Prove(i)
	return way, members.People(), err
}
