// Command example asks a question over HTTP and reads the tally, as a tool for
// groups would. Beside it stand the same in curl (poll.sh) and TypeScript
// (poll.ts).
//
//	example http://127.0.0.1:7447 nsec1… [32191:key:group]
package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "example http://RELAY NSEC [GROUP]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], append(os.Args[3:], "")[0]); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

func run(relay, nsec, group string) error {
	_, value, err := nip19.Decode(nsec)
	if err != nil {
		return err
	}
	secret, ok := value.(string)
	if !ok {
		return errors.New("the second argument is an nsec")
	}
	question := map[string]any{
		"question": "What next?", "method": "quadratic",
		"options": []map[string]string{{"id": "parks", "label": "Parks"}, {"id": "roads", "label": "Roads"}},
	}
	if group != "" {
		question["group"] = group
	}
	var taken struct{ ID string }
	if err := ask(http.MethodPost, relay+"/v1/polls", question, secret, &taken); err != nil {
		return err
	}
	var tally struct {
		State       string
		Count       int
		X           string
		Certificate nostr.Event
	}
	if err := ask(http.MethodGet, relay+"/v1/polls/"+taken.ID+"/tally", nil, "", &tally); err != nil {
		return err
	}
	if ok, err := tally.Certificate.CheckSignature(); err != nil || !ok || !tally.Certificate.CheckID() {
		return errors.New("the certificate is not signed")
	}
	fmt.Printf("poll %s is %s: %d ballots, certificate %s\n", taken.ID, tally.State, tally.Count, tally.X)
	return nil
}

// ask sends one request, signed by NIP-98 when there is a secret.
func ask(method, url string, question any, secret string, answer any) error {
	body := []byte{}
	if question != nil {
		var err error
		if body, err = json.Marshal(question); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if secret != "" {
		sum := sha256.Sum256(body)
		ev := nostr.Event{Kind: nostr.KindHTTPAuth, CreatedAt: nostr.Now(), Tags: nostr.Tags{
			{"u", url}, {"method", method}, {"payload", hex.EncodeToString(sum[:])}, {"nonce", rand.Text()},
		}}
		if err := ev.Sign(secret); err != nil {
			return err
		}
		req.Header.Set("Authorization", "Nostr "+base64.StdEncoding.EncodeToString([]byte(ev.String())))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		var no struct{ Error string }
		_ = json.NewDecoder(resp.Body).Decode(&no) // the status alone will do
		return fmt.Errorf("%s %s: %s %s", method, url, resp.Status, no.Error)
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}
