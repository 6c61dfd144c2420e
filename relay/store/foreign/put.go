package foreign

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// ErrUnsupported is the answer to what other stores have no place for.
var ErrUnsupported = errors.New("a foreign store cannot keep this")

const (
	kindVanish = 62
	kindWrap   = 1059
)

// put takes one event through the rules our own store has. Only the writer
// calls it.
func (l *Log) put(ctx context.Context, e store.Entry) (store.Result, error) {
	id, err := store.ParseID(e.Event.ID)
	if err != nil {
		return store.Result{}, fmt.Errorf("event id: %w", err)
	}
	if err := keepable(e); err != nil {
		return store.Result{}, err
	}
	out, err := l.refused(ctx, id, e.Event)
	if out != 0 || err != nil {
		return store.Result{Outcome: out}, err
	}
	losers, older, err := l.rivals(ctx, e.Event)
	if older || err != nil {
		return store.Result{Outcome: store.Older}, err
	}
	if err := l.save(ctx, e.Event); err != nil {
		return store.Result{}, err
	}
	pos := l.step(change{id: id})
	if err := l.remove(ctx, losers); err != nil {
		return store.Result{}, err
	}
	return store.Result{Outcome: store.Stored, Pos: pos}, l.obey(ctx, e)
}

// keepable refuses what would be lost or bent.
func keepable(e store.Entry) error {
	switch {
	case len(e.Claims) > 0:
		return fmt.Errorf("a claim: %w", ErrUnsupported)
	case len(e.Labels) > 0:
		return fmt.Errorf("a label: %w", ErrUnsupported)
	case e.Event.Kind == kindVanish && !e.Vanish:
		return fmt.Errorf("a request to vanish from elsewhere: %w", ErrUnsupported)
	}
	if why := Unfit(e.Event); why != "" {
		return fmt.Errorf("%s: %w", why, ErrUnsupported)
	}
	return nil
}

// MaxContent is the longest content that fits, in bytes: eventstore's records
// have 16 bits for it.
const MaxContent = math.MaxUint16

// Unfit says why eventstore's records and indexes have no room for an event;
// "" when they have.
func Unfit(ev *nostr.Event) string {
	switch {
	case ev.CreatedAt < 0 || ev.CreatedAt > math.MaxUint32:
		return "created_at must lie between 1970 and 2106 here"
	case len(ev.Content) > MaxContent:
		return fmt.Sprintf("content of at most %d bytes here", MaxContent)
	case len(ev.Tags) > math.MaxUint16:
		return fmt.Sprintf("at most %d tags here", math.MaxUint16)
	}
	for _, tag := range ev.Tags {
		if len(tag) > math.MaxUint8 {
			return fmt.Sprintf("at most %d values in a tag here", math.MaxUint8)
		}
		for _, value := range tag {
			if len(value) > math.MaxUint16 {
				return fmt.Sprintf("a tag's value of at most %d bytes here", math.MaxUint16)
			}
		}
	}
	return ""
}

// refused says why an event may not be stored; 0: it may.
func (l *Log) refused(ctx context.Context, id store.ID, ev *nostr.Event) (store.Outcome, error) {
	if l.graves.banned[id] {
		return store.Deleted, nil
	}
	if held, err := l.Has(id); held || err != nil {
		return store.Duplicate, err
	}
	if at := expiration(ev); at != 0 && at <= time.Now().Unix() {
		return store.Expired, nil
	}
	if gone, err := l.hasVanished(ctx, ev); gone || err != nil {
		return store.Vanished, err
	}
	if ev.Kind == nostr.KindDeletion || ev.Kind == kindVanish {
		return 0, nil
	}
	if gone, err := l.wasDeleted(ctx, id, ev); gone || err != nil {
		return store.Deleted, err
	}
	return 0, nil
}

func (l *Log) hasVanished(ctx context.Context, ev *nostr.Event) (bool, error) {
	if at, ok := l.graves.vanished[ev.PubKey]; ok && int64(ev.CreatedAt) <= at {
		return true, nil
	}
	return l.any(ctx, nostr.Filter{Authors: []string{ev.PubKey}, Kinds: []int{kindVanish}, Since: &ev.CreatedAt})
}

// wasDeleted looks for a deletion that came first: by the author, for a
// wrapped message by its recipients.
func (l *Log) wasDeleted(ctx context.Context, id store.ID, ev *nostr.Event) (bool, error) {
	if l.graves.wraps[id] {
		return true, nil
	}
	for _, deleter := range deletersOf(ev) {
		if l.graves.ids[burial{id, deleter}] {
			return true, nil
		}
		f := nostr.Filter{Authors: []string{deleter}, Kinds: []int{nostr.KindDeletion}, Tags: nostr.TagMap{"e": {ev.ID}}}
		if gone, err := l.any(ctx, f); gone || err != nil {
			return gone, err
		}
	}
	addr := addressOf(ev)
	if addr == "" {
		return false, nil
	}
	if at, ok := l.graves.addresses[addr]; ok && int64(ev.CreatedAt) <= at {
		return true, nil
	}
	return l.any(ctx, nostr.Filter{
		Authors: []string{ev.PubKey}, Kinds: []int{nostr.KindDeletion}, Tags: nostr.TagMap{"a": {addr}}, Since: &ev.CreatedAt,
	})
}

func deletersOf(ev *nostr.Event) []string {
	keys := []string{ev.PubKey}
	if ev.Kind == kindWrap {
		keys = append(keys, valuesOf(ev.Tags, "p")...)
	}
	return keys
}

func valuesOf(tags nostr.Tags, name string) (values []string) {
	for _, t := range tags {
		if len(t) > 1 && t[0] == name {
			values = append(values, t[1])
		}
	}
	return values
}

// addressOf is kind:pubkey:d of an event that a newer one replaces, else "".
func addressOf(ev *nostr.Event) string {
	switch {
	case nostr.IsReplaceableKind(ev.Kind):
		return strconv.Itoa(ev.Kind) + ":" + ev.PubKey + ":"
	case nostr.IsAddressableKind(ev.Kind):
		return strconv.Itoa(ev.Kind) + ":" + ev.PubKey + ":" + ev.Tags.GetD()
	}
	return ""
}

// expiration is the first tag's, in unix seconds; 0: none.
func expiration(ev *nostr.Event) int64 {
	values := valuesOf(ev.Tags, "expiration")
	if len(values) == 0 {
		return 0
	}
	at, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil {
		return 0
	}
	return at
}

func (l *Log) any(ctx context.Context, f nostr.Filter) (bool, error) {
	f.Limit = 1
	n, err := l.Count(ctx, f)
	return n > 0, err
}

// rivals finds the versions an event would replace, or says that one of them
// is newer (ties: has the lower id).
func (l *Log) rivals(ctx context.Context, ev *nostr.Event) (losers []*nostr.Event, older bool, err error) {
	addr := addressOf(ev)
	if addr == "" {
		return nil, false, nil
	}
	for rec, err := range l.Query(ctx, nostr.Filter{Authors: []string{ev.PubKey}, Kinds: []int{ev.Kind}}) {
		if err != nil {
			return nil, false, err
		}
		held, err := rec.Event()
		if err != nil {
			return nil, false, err
		}
		if addressOf(held) != addr {
			continue
		}
		if held.CreatedAt > ev.CreatedAt || held.CreatedAt == ev.CreatedAt && held.ID < ev.ID {
			return nil, true, nil
		}
		losers = append(losers, held)
	}
	return losers, false, nil
}

// save stores an event. Some backends know an id by its first eight bytes
// only; two that share them would damage each other, and who makes events can
// make such a pair, so the second is refused.
func (l *Log) save(ctx context.Context, ev *nostr.Event) error {
	l.io.Lock()
	defer l.io.Unlock()
	alike, err := l.askHolding(ctx, nostr.Filter{IDs: []string{ev.ID}, Limit: 2})
	if err != nil {
		return err
	}
	if len(alike) > 0 {
		return fmt.Errorf("%s, which the backend takes for %s: %w", ev.ID, alike[0].ID, ErrUnsupported)
	}
	if err := l.es.SaveEvent(ctx, ev); err != nil {
		return fmt.Errorf("save %s: %w", ev.ID, err)
	}
	return nil
}

// remove takes events out. What a request among them has said is buried
// first, so that it goes on counting.
func (l *Log) remove(ctx context.Context, events []*nostr.Event) error {
	var lines []string
	for _, ev := range events {
		lines = append(lines, lastWords(ev)...)
	}
	if err := l.graves.dig(lines...); err != nil {
		return err
	}
	for _, ev := range events {
		l.io.Lock()
		err := l.es.DeleteEvent(ctx, ev)
		l.io.Unlock()
		if err != nil {
			return fmt.Errorf("delete %s: %w", ev.ID, err)
		}
		rm := &store.Removal{Kind: ev.Kind}
		rm.ID, _ = store.ParseID(ev.ID) // it was stored
		if key, err := store.ParseID(ev.PubKey); err == nil {
			rm.PubKey = key
		}
		l.step(change{id: rm.ID, removed: rm})
	}
	return nil
}

// lastWords is what a request to delete or to vanish still says when it is
// gone.
func lastWords(ev *nostr.Event) (lines []string) {
	switch ev.Kind {
	case kindVanish:
		lines = append(lines, fmt.Sprintf("vanish %s %d", ev.PubKey, ev.CreatedAt))
	case nostr.KindDeletion:
		for _, hex := range valuesOf(ev.Tags, "e") {
			if id, err := store.ParseID(hex); err == nil {
				lines = append(lines, fmt.Sprintf("id %s %s", ev.PubKey, id))
			}
		}
		for _, addr := range valuesOf(ev.Tags, "a") {
			if ownAddress(addr, ev.PubKey) {
				lines = append(lines, fmt.Sprintf("address %s %d %s", ev.PubKey, ev.CreatedAt, strconv.Quote(addr)))
			}
		}
	}
	return lines
}

func ownAddress(addr, pubkey string) bool {
	parts := strings.SplitN(addr, ":", 3)
	return len(parts) == 3 && parts[1] == pubkey
}

// obey does what a request that is now stored asks for.
func (l *Log) obey(ctx context.Context, e store.Entry) error {
	switch e.Event.Kind {
	case nostr.KindDeletion:
		return l.delete(ctx, e.Event)
	case kindVanish:
		return l.vanish(ctx, e.Event)
	}
	return nil
}

func (l *Log) delete(ctx context.Context, by *nostr.Event) error {
	var gone []*nostr.Event
	for _, id := range valuesOf(by.Tags, "e") {
		found, err := l.collect(ctx, nostr.Filter{IDs: []string{id}})
		if err != nil {
			return err
		}
		for _, ev := range found {
			if own(ev, by.PubKey) {
				gone = append(gone, ev)
			}
		}
	}
	for _, addr := range valuesOf(by.Tags, "a") {
		kind, err := strconv.Atoi(strings.SplitN(addr, ":", 2)[0])
		if err != nil || !ownAddress(addr, by.PubKey) {
			continue
		}
		found, err := l.collect(ctx, nostr.Filter{Authors: []string{by.PubKey}, Kinds: []int{kind}, Until: &by.CreatedAt})
		if err != nil {
			return err
		}
		for _, ev := range found {
			if addressOf(ev) == addr {
				gone = append(gone, ev)
			}
		}
	}
	return l.remove(ctx, distinctEvents(gone))
}

func distinctEvents(list []*nostr.Event) (once []*nostr.Event) {
	seen := map[string]bool{}
	for _, ev := range list {
		if !seen[ev.ID] {
			seen[ev.ID] = true
			once = append(once, ev)
		}
	}
	return once
}

// own reports whether a key may delete an event: its own, but for requests;
// a wrapped message that is for it.
func own(ev *nostr.Event, pubkey string) bool {
	if ev.Kind == nostr.KindDeletion || ev.Kind == kindVanish {
		return false
	}
	return ev.PubKey == pubkey || ev.Kind == kindWrap && ev.Tags.ContainsAny("p", []string{pubkey})
}

// vanish removes all of a key up to its request, and every wrapped message
// for it.
func (l *Log) vanish(ctx context.Context, by *nostr.Event) error {
	mine, err := l.collect(ctx, nostr.Filter{Authors: []string{by.PubKey}, Until: &by.CreatedAt})
	if err != nil {
		return err
	}
	wraps, err := l.collect(ctx, nostr.Filter{Kinds: []int{kindWrap}, Tags: nostr.TagMap{"p": {by.PubKey}}})
	if err != nil {
		return err
	}
	var lines []string
	for _, ev := range wraps {
		lines = append(lines, "wrap "+ev.ID)
	}
	if err := l.graves.dig(lines...); err != nil {
		return err
	}
	gone := wraps
	for _, ev := range mine {
		if ev.ID != by.ID {
			gone = append(gone, ev)
		}
	}
	return l.remove(ctx, distinctEvents(gone))
}

func (l *Log) collect(ctx context.Context, f nostr.Filter) (events []*nostr.Event, err error) {
	for rec, err := range l.Query(ctx, f) {
		if err != nil {
			return nil, err
		}
		ev, err := rec.Event()
		if err != nil {
			return nil, err
		}
		events = append(events, ev)
	}
	return events, nil
}

// Remove takes events out at the operator's word; a banned one cannot come
// back until Unban. It returns how many were held.
func (l *Log) Remove(ctx context.Context, ids []store.ID, ban bool) (int, error) {
	n := 0 // the writer's until wait returns nil
	_, err := l.wait(ctx, request{work: func() error {
		ctx := context.WithoutCancel(ctx)
		var events []*nostr.Event
		var lines []string
		for _, id := range ids {
			found, err := l.collect(ctx, nostr.Filter{IDs: []string{id.String()}})
			if err != nil {
				return err
			}
			events = append(events, found...)
			if ban {
				lines = append(lines, "ban "+id.String())
			}
		}
		n = len(events)
		return errors.Join(l.graves.dig(lines...), l.remove(ctx, events))
	}})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Unban lets banned events come again.
func (l *Log) Unban(ctx context.Context, ids []store.ID) error {
	_, err := l.wait(ctx, request{work: func() error {
		var lines []string
		for _, id := range ids {
			if l.graves.banned[id] {
				lines = append(lines, "unban "+id.String())
			}
		}
		return l.graves.dig(lines...)
	}})
	return err
}
