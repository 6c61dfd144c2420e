package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

// The plain model: what we accept, said slowly with encoding/json. A node is
// a string, json.Number, bool, nil, []any or *object.

type object struct {
	keys   []string
	values []any
}

func (o *object) field(key string) any {
	for i, k := range o.keys {
		if k == key {
			return o.values[i]
		}
	}
	return nil
}

func (o *object) hasDuplicates() bool {
	seen := map[string]bool{}
	for _, k := range o.keys {
		if seen[k] {
			return true
		}
		seen[k] = true
	}
	return false
}

// plainTree reads JSON into nodes; ok is false where it is not strict JSON,
// holds a NUL or a lone surrogate.
func plainTree(in []byte) (node any, ok bool) {
	if !utf8.Valid(in) || !json.Valid(in) || hasLoneSurrogate(in) {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(in))
	dec.UseNumber()
	node, ok = plainNode(dec)
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, false
	}
	return node, ok
}

func plainNode(dec *json.Decoder) (any, bool) {
	token, err := dec.Token()
	if err != nil {
		return nil, false
	}
	switch v := token.(type) {
	case string:
		return v, !strings.Contains(v, "\x00")
	case json.Delim:
		if v == '[' {
			return plainArray(dec)
		}
		return plainObject(dec)
	}
	return token, true
}

func plainArray(dec *json.Decoder) (any, bool) {
	list, good := []any{}, true
	for dec.More() {
		v, ok := plainNode(dec)
		good = good && ok
		list = append(list, v)
	}
	_, err := dec.Token()
	return list, good && err == nil
}

func plainObject(dec *json.Decoder) (any, bool) {
	o, good := &object{}, true
	for dec.More() {
		key, ok := plainNode(dec)
		value, ok2 := plainNode(dec)
		good = good && ok && ok2
		name, _ := key.(string)
		o.keys, o.values = append(o.keys, name), append(o.values, value)
	}
	_, err := dec.Token()
	return o, good && err == nil
}

var escapes = regexp.MustCompile(`\\(u([dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F]|.)`)

// hasLoneSurrogate takes proper pairs away and looks for what is left.
func hasLoneSurrogate(in []byte) bool {
	for _, m := range escapes.FindAllSubmatch(in, -1) {
		if len(m[0]) == 4 { // \ud8 … \udf, not part of a pair
			return true
		}
	}
	return false
}

// deep is how deep a node nests.
func deep(node any) int {
	var inner []any
	switch v := node.(type) {
	case []any:
		inner = v
	case *object:
		inner = v.values
	default:
		return 0
	}
	most := 0
	for _, v := range inner {
		most = max(most, deep(v))
	}
	return 1 + most
}

func plainInt(node any, most int64) (int64, bool) {
	num, ok := node.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(string(num), 10, 64)
	return n, err == nil && n >= 0 && n <= most
}

var hexDigits = regexp.MustCompile(`^[0-9a-f]*$`)

func plainHex(node any, n int) (string, bool) {
	s, ok := node.(string)
	return s, ok && len(s) == n && hexDigits.MatchString(s)
}

// plainEvent is ParseEvent by the model.
func plainEvent(in []byte) (*nostr.Event, bool) {
	node, ok := plainTree(in)
	o, isObject := node.(*object)
	if !ok || !isObject || o.hasDuplicates() || len(o.keys) > 7+mostUnknown {
		return nil, false
	}
	for i, key := range o.keys { // values of unknown keys start at depth 1
		if fieldBit(key) == 0 && deep(o.values[i]) > maxDepth {
			return nil, false
		}
	}
	ev := &nostr.Event{Tags: nostr.Tags{}}
	var good [7]bool
	ev.ID, good[0] = plainHex(o.field("id"), 64)
	ev.PubKey, good[1] = plainHex(o.field("pubkey"), 64)
	ev.Sig, good[2] = plainHex(o.field("sig"), 128)
	at, ok := plainInt(o.field("created_at"), 1<<63-1)
	ev.CreatedAt, good[3] = nostr.Timestamp(at), ok
	kind, ok := plainInt(o.field("kind"), 65535)
	ev.Kind, good[4] = int(kind), ok
	ev.Content, good[5] = o.field("content").(string)
	ev.Tags, good[6] = plainTags(o.field("tags"))
	return ev, good == [7]bool{true, true, true, true, true, true, true}
}

func plainTags(node any) (nostr.Tags, bool) {
	list, ok := node.([]any)
	tags := nostr.Tags{}
	for _, t := range list {
		values, isList := t.([]any)
		ok = ok && isList && len(values) > 0
		tag := nostr.Tag{}
		for _, v := range values {
			s, isString := v.(string)
			ok = ok && isString
			tag = append(tag, s)
		}
		tags = append(tags, tag)
	}
	return tags, ok
}

// plainFilter is ParseFilter by the model.
func plainFilter(in []byte) (f nostr.Filter, ok bool) {
	node, ok := plainTree(in)
	o, isObject := node.(*object)
	if !ok || !isObject || o.hasDuplicates() {
		return f, false
	}
	for i, key := range o.keys {
		if !plainFilterField(&f, key, o.values[i]) {
			return f, false
		}
	}
	return f, true
}

func plainFilterField(f *nostr.Filter, key string, v any) (ok bool) {
	switch key {
	case "ids":
		f.IDs, ok = plainList(v, true)
	case "authors":
		f.Authors, ok = plainList(v, true)
	case "kinds":
		list, isList := v.([]any)
		ok, f.Kinds = isList, []int{}
		for _, v := range list {
			n, good := plainInt(v, 65535)
			ok = ok && good
			f.Kinds = append(f.Kinds, int(n))
		}
	case "since", "until":
		n, good := plainInt(v, 1<<63-1)
		at := nostr.Timestamp(n)
		if ok = good; key == "since" {
			f.Since = &at
		} else {
			f.Until = &at
		}
	case "limit":
		n, good := plainInt(v, 1<<63-1)
		f.Limit, f.LimitZero, ok = int(n), n == 0, good
	case "search":
		f.Search, ok = v.(string)
	default:
		if !regexp.MustCompile(`^#[a-zA-Z]$`).MatchString(key) {
			return false
		}
		list, good := plainList(v, key == "#e" || key == "#p")
		if f.Tags == nil {
			f.Tags = nostr.TagMap{}
		}
		f.Tags[key[1:]], ok = list, good
	}
	return ok
}

func plainList(node any, hexOnly bool) ([]string, bool) {
	list, ok := node.([]any)
	values := []string{}
	for _, v := range list {
		s, good := v.(string)
		if hexOnly {
			s, good = plainHex(v, 64)
		}
		ok = ok && good
		values = append(values, s)
	}
	return values, ok
}
