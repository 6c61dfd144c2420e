package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"agora/relay/admit"
	"agora/spam"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

const (
	adText  = "Claim your free USDT airdrop now: register your wallet at https://t.me/free-usdt-bonus and start earning daily profit! Limited, first come."
	hamText = "The tomatoes on my balcony have finally turned red, so tonight there is salad."
)

// hand gives one event to the server as a client would.
func hand(t *testing.T, s *server, key, text string, kind int, tags ...nostr.Tag) (ev nostr.Event, ok bool, reason string) {
	t.Helper()
	ev = nostr.Event{Kind: kind, CreatedAt: nostr.Now(), Content: text, Tags: tags}
	if err := ev.Sign(key); err != nil {
		t.Fatal(err)
	}
	reply, err := s.relay.Publish(t.Context(), &ev, nil, admit.Peer{Origin: admit.Socket})
	if err != nil {
		t.Fatal(err)
	}
	return ev, reply.OK, reply.Reason
}

func asked(t *testing.T, s *server, key, path string) (int, spamAnswer) {
	t.Helper()
	url := "http://" + strings.TrimPrefix(s.urls[0], "ws://") + path
	auth := nostr.Event{Kind: 27235, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"u", url}, {"method", "GET"}, {"nonce", nostr.GeneratePrivateKey()}}}
	if err := auth.Sign(key); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Nostr "+base64.StdEncoding.EncodeToString([]byte(auth.String())))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer spamAnswer
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatal(err)
		}
	}
	return res.StatusCode, answer
}

func TestRefusedNoteTellsItsAuthorAndNobodyElse(t *testing.T) {
	s, _ := startServer(t, func(c *Config) { c.SpamMode = "refuse" })
	key := nostr.GeneratePrivateKey()
	ev, ok, reason := hand(t, s, key, adText, 1)
	if ok || !strings.HasPrefix(reason, "blocked: this looks like spam") {
		t.Fatal(ok, reason)
	}
	if code, a := asked(t, s, key, "/v1/spam/"+ev.ID); code != 200 || !a.Refused || len(a.Reasons) == 0 || a.Spam < .5 {
		t.Errorf("the author reads %d %+v", code, a)
	}
	if code, _ := asked(t, s, nostr.GeneratePrivateKey(), "/v1/spam/"+ev.ID); code != 404 {
		t.Errorf("a stranger reads %d", code)
	}
	if res, _ := fetch(t, "http://"+strings.TrimPrefix(s.urls[0], "ws://")+"/v1/spam/"+ev.ID); res.StatusCode != 401 {
		t.Errorf("nobody reads %d", res.StatusCode)
	}
	if _, ok, reason := hand(t, s, key, hamText, 1); !ok {
		t.Errorf("salad: %s", reason)
	}
}

func TestQuarantinedNoteIsStoredLabelledAndOutOfSearch(t *testing.T) {
	s, _ := startServer(t, func(c *Config) { c.SpamMode = "quarantine" })
	key := nostr.GeneratePrivateKey()
	ev, ok, reason := hand(t, s, key, adText+" zanzibar", 1)
	if !ok {
		t.Fatal(reason)
	}
	labels, err := labelsOf(s.store, ev.ID)
	if err != nil || !spam.Quarantined(labels) {
		t.Fatal(labels, err)
	}
	look := func(query string) (found []string) {
		for id, err := range (spamSearch{s.parts.search, s.store, s.parts.spam.desk}).Search(t.Context(), query, nostr.Filter{Kinds: []int{1}, Limit: 5}) {
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, id.String())
		}
		return found
	}
	within(t, func() bool { return slices.Contains(look("zanzibar include:spam"), ev.ID) }, "include:spam does not find it")
	if found := look("zanzibar"); len(found) > 0 {
		t.Errorf("search shows %v", found)
	}
	signals, err := spamSignals{s.store, s.parts.spam.desk}.Signals(t.Context(), []string{ev.ID})
	if err != nil || len(signals) != 1 || !signals[0].Refuse || signals[0].Facts.Spam < .5 {
		t.Errorf("feeds hear %+v %v", signals, err)
	}
	within(t, func() bool {
		for rec, err := range s.store.Query(t.Context(), nostr.Filter{Kinds: []int{1985}, Tags: nostr.TagMap{"e": []string{ev.ID}}}) {
			return err == nil && rec.HasTag('l', "spam")
		}
		return false
	}, "no label was published")
	var appeals strings.Builder
	hand(t, s, key, "I grow these", 1985, nostr.Tag{"L", spam.Appeals}, nostr.Tag{"l", "not-spam", spam.Appeals}, nostr.Tag{"e", ev.ID})
	hand(t, s, nostr.GeneratePrivateKey(), "me too", 1985, nostr.Tag{"L", spam.Appeals}, nostr.Tag{"l", "not-spam", spam.Appeals}, nostr.Tag{"e", ev.ID})
	if _, err := writeAppeals(t.Context(), s.store, s.parts.spam.operator, &appeals); err != nil || strings.Count(appeals.String(), "\n") != 1 || !strings.Contains(appeals.String(), "I grow these") {
		t.Errorf("appeals: %s %v", appeals.String(), err)
	}
}

func within(t *testing.T, done func() bool, otherwise string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatal(otherwise)
}

func TestReportsAndLabelsBecomeRowsWithTheirSource(t *testing.T) {
	s, _ := startServer(t, nil)
	note, _, _ := hand(t, s, nostr.GeneratePrivateKey(), hamText, 1)
	judge := nostr.GeneratePrivateKey()
	hand(t, s, judge, "", 1984, nostr.Tag{"e", note.ID, "spam"}, nostr.Tag{"p", note.PubKey})
	hand(t, s, judge, "", 1985, nostr.Tag{"L", "x"}, nostr.Tag{"l", "not-spam", "x"}, nostr.Tag{"e", note.ID})
	hand(t, s, judge, "", 1985, nostr.Tag{"L", spam.Namespace}, nostr.Tag{"l", "spam", spam.Namespace}, nostr.Tag{"e", note.ID})
	stranger := nostr.GeneratePrivateKey()
	hand(t, s, stranger, "", 1984, nostr.Tag{"e", note.ID, "spam"}, nostr.Tag{"p", note.PubKey})
	by, err := nostr.GetPublicKey(judge)
	if err != nil {
		t.Fatal(err)
	}
	friend := nostr.GeneratePrivateKey()
	hisKey, err := nostr.GetPublicKey(friend)
	if err != nil {
		t.Fatal(err)
	}
	hand(t, s, judge, "", 3, nostr.Tag{"p", hisKey})
	for range 3 {
		hand(t, s, friend, fmt.Sprint(time.Now()), 1984, nostr.Tag{"e", note.ID, "spam"}, nostr.Tag{"p", note.PubKey})
	}
	who, err := wordsOf(t.Context(), s.store, Config{SpamSeeds: []string{by}})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	left, err := writeFeedback(t.Context(), s.store, who, false, &out)
	if err != nil {
		t.Fatal(err)
	}
	if left != 1 {
		t.Errorf("%d rows by strangers were left out", left)
	}
	if strings.Contains(out.String(), `"label":"spam","source":"nip32"`) {
		t.Error("a classifier's own label became a row")
	}
	if n := strings.Count(out.String(), hisKey); n != 1 {
		t.Errorf("one friend has %d rows about one note", n)
	}
	for _, want := range []string{`"label":"ham","source":"nip32","by":"` + by + `","weight":1,`, `"label":"spam","source":"nip56","by":"` + hisKey + `","weight":0.5,`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
}

func TestBrokenSpamModelStopsTheStartOnlyWhenEnforced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "model")
	if err := os.WriteFile(file, []byte("not a model"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{file: "does not begin as one", file + ".gone": "no such file"} {
		cfg := defaults()
		cfg.Listen, cfg.Data, cfg.Assertions, cfg.SpamModel, cfg.SpamEnforce = "127.0.0.1:0", t.TempDir(), 0, path, true
		_, err := openServer(t.Context(), cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
		if !errors.Is(err, spam.ErrModel) || !strings.Contains(err.Error(), why) {
			t.Errorf("started, or gave no reason: %v", err)
		}
		s, _ := startServer(t, func(c *Config) { c.SpamModel, c.SpamMode = path, "refuse" })
		if _, ok, reason := hand(t, s, nostr.GeneratePrivateKey(), adText, 1); !ok {
			t.Errorf("without a model: %s", reason)
		}
	}
}

func TestSpamTableOfTheFileIsReadAsSettings(t *testing.T) {
	cfg := defaults()
	text := "name = \"x\"\n[spam]\nmode = \"refuse\"\nenforce = true\nrules = [\"trust<0.2 action=refuse\"]\nspam_dry_run = true\n"
	if err := parseConfig(strings.NewReader(text), &cfg); err != nil {
		t.Fatal(err)
	}
	if cfg.SpamMode != "refuse" || !cfg.SpamEnforce || len(cfg.SpamRules) != 1 || !cfg.SpamDryRun || cfg.Name != "x" {
		t.Errorf("%+v", cfg)
	}
	if err := parseConfig(strings.NewReader("[spam]\nmoed = 1\n"), &cfg); err == nil || !strings.Contains(err.Error(), "2") {
		t.Errorf("a misspelt key: %v", err)
	}
	if err := parseConfig(strings.NewReader("[dvm]\nrelays = [\"ws://a.example\"]\n"), &cfg); err != nil || len(cfg.DVMRelays) != 1 {
		t.Errorf("[dvm]: %v, %v", cfg.DVMRelays, err)
	}
	if err := parseConfig(strings.NewReader("\n[relay]\nname = \"x\"\n"), &cfg); err == nil || !strings.Contains(err.Error(), "line 2: there is no table [relay]") {
		t.Errorf("a table that is none: %v", err)
	}
	cfg.SpamRules = []string{"action=burn"}
	if err := cfg.validate(); err == nil {
		t.Error("a rule that is none was taken")
	}
}

func TestScoreAnswersEachLine(t *testing.T) {
	judge, err := spamModel("")
	if err != nil {
		t.Fatal(err)
	}
	ev := nostr.Event{Kind: 1, CreatedAt: nostr.Now(), Content: adText}
	if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	in := `{"text":"` + hamText + `"}` + "\n" + `{"text":""}` + "\n" + ev.String() // the last line has no end
	if _, bad, err := scoreLines(t.Context(), judge, nil, strings.NewReader(in), &out); err != nil || bad != 0 {
		t.Fatal(bad, err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[2], ev.ID) || !strings.Contains(lines[2], `"sure":true`) || strings.Contains(lines[0], `"suspect":true`) {
		t.Errorf("%s", out.String())
	}
}

func TestScoreAnswersABadLineInItsPlaceAndGoesOn(t *testing.T) {
	judge, err := spamModel("")
	if err != nil {
		t.Fatal(err)
	}
	good := `{"text":"` + hamText + `"}`
	long := `{"text":"` + strings.Repeat("x", longestLine) + `"}`
	bad := []string{"x", "{}", `{"text":1}`, `{"text":"cut`, "null", "[]", "7", long, `{"content":"no key"}`, "\xff\xfe", `{"id":"a","pubkey":7}`, ""}
	var in strings.Builder
	for _, line := range bad {
		in.WriteString(line + "\n" + good + "\n")
	}
	var out strings.Builder
	if _, n, err := scoreLines(t.Context(), judge, nil, strings.NewReader(in.String()), &out); err != nil || n != len(bad) {
		t.Errorf("the end: %d bad, %v", n, err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2*len(bad) {
		t.Fatalf("%d answers to %d lines", len(lines), 2*len(bad))
	}
	for i, line := range lines {
		if strings.Contains(line, `"error":`) != (i%2 == 0) || strings.Contains(line, `"spam":`) == (i%2 == 0) {
			t.Errorf("line %d: %s", i+1, line)
		}
	}
}

// A plugin that looks three events up at once must be asked about all three,
// though they came on one connection and its owner waits for the answers.
func TestPluginIsAskedAboutManyEventsOfOneConnectionAtOnce(t *testing.T) {
	const script = `n=0; ids=
while IFS= read -r line; do
	id=${line#*\"id\":\"}; ids="$ids ${id%%\"*}"; n=$((n+1))
	case $n in 1|4) # the first says that it runs, then come three
		for i in $ids; do printf '{"id":"%s","action":"accept","msg":""}\n' "$i"; done
		ids=
	esac
done
`
	file := filepath.Join(t.TempDir(), "three.sh")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := startServer(t, func(c *Config) {
		c.WritePolicy = []string{"sh " + file}
		c.WritePolicyTime = Duration{time.Minute}
	})
	ws, resp, err := websocket.DefaultDialer.DialContext(t.Context(), s.at.relay, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close() // empty
	defer func() { _ = ws.Close() }()
	within(t, func() bool {
		ev := nostr.Event{Kind: 7, CreatedAt: nostr.Now()}
		if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
			t.Fatal(err)
		}
		reply, err := s.relay.Publish(t.Context(), &ev, nil, admit.Peer{Origin: admit.Socket})
		return err == nil && reply.OK // an error: it does not run yet
	}, "the plugin was not asked")
	for i := range 3 {
		ev := nostr.Event{Kind: 7, CreatedAt: nostr.Now(), Content: strconv.Itoa(i)}
		if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
			t.Fatal(err)
		}
		if err := ws.WriteJSON([]any{"EVENT", &ev}); err != nil {
			t.Fatal(err)
		}
	}
	_ = ws.SetReadDeadline(time.Now().Add(2 * time.Minute))
	for stored := 0; stored < 3; {
		var msg []any
		if err := ws.ReadJSON(&msg); err != nil {
			t.Fatalf("after %d of 3: %v", stored, err)
		}
		if msg[0] != "OK" {
			continue
		}
		if msg[2] != true {
			t.Fatalf("%v", msg)
		}
		stored++
	}
}

func TestPluginOfTheOperatorRulesOnSockets(t *testing.T) {
	s, _ := startServer(t, func(c *Config) {
		c.WritePolicy = []string{`sed -u s/.*"id":"\([0-9a-f]*\)".*/{"id":"\1","action":"reject","msg":"not-here"}/`}
		c.WritePolicyTime = Duration{20 * time.Second}
	})
	var reason string
	within(t, func() bool {
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		ev := nostr.Event{Kind: 1, CreatedAt: nostr.Now(), Content: hamText}
		if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
			t.Fatal(err)
		}
		reply, err := s.relay.Publish(ctx, &ev, nil, admit.Peer{Origin: admit.Socket})
		reason = reply.Reason
		return err == nil && !reply.OK && reason == "blocked: not-here"
	}, "the plugin was not asked: "+reason)
}
