package feature

import (
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

// Hash is the first 63 bits of an id or key in hex; 0 when it is none.
func Hash(hex string) int64 {
	if len(hex) < 16 {
		return 0
	}
	bits, err := strconv.ParseUint(hex[:16], 16, 64)
	if err != nil {
		return 0
	}
	return int64(bits >> 1)
}

// Read is what an event says of itself. Tokens and Vector stay nil.
func Read(ev *nostr.Event) Note {
	n := Note{
		CreatedAt: int64(ev.CreatedAt), ID: Hash(ev.ID), Author: Hash(ev.PubKey), Kind: uint16(ev.Kind),
		Characters: uint32(utf8.RuneCountInString(ev.Content)),
	}
	readTags(&n, ev)
	hosts := make(map[string]struct{})
	text := withoutLinks(ev.Content, func(link string) { readLink(&n, link, hosts) })
	n.Hosts = clip(len(hosts))
	readText(&n, text)
	return n
}

func clip(n int) uint16 { return uint16(min(n, 1<<16-1)) }

func readTags(n *Note, ev *nostr.Event) {
	seen := make(map[[2]string]struct{})
	for _, tag := range ev.Tags {
		if len(tag) == 0 {
			continue
		}
		value := ""
		if len(tag) > 1 {
			value = tag[1]
		}
		switch tag[0] {
		case "t", "p", "q":
			seen[[2]string{tag[0], value}] = struct{}{}
		case "content-warning":
			n.Warning = true
		case "-":
			n.Protected = true
		case "imeta":
			readMeta(n, tag)
		case "e", "a":
			n.Reply = n.Reply || ev.Kind == 1 && (len(tag) < 4 || tag[3] != "mention")
		}
	}
	n.Reply = n.Reply || ev.Kind == 1111
	for key := range seen {
		switch key[0] {
		case "t":
			n.Hashtags = clip(int(n.Hashtags) + 1)
		case "p":
			n.Mentions = clip(int(n.Mentions) + 1)
		default:
			n.Quotes = clip(int(n.Quotes) + 1)
		}
	}
}

// readMeta counts an imeta tag whose link is not in the text by its type
// (NIP-92); one whose link ends in .jpg or the like is counted as a link.
func readMeta(n *Note, tag nostr.Tag) {
	media, link := "", ""
	for _, item := range tag[1:] {
		if m, ok := strings.CutPrefix(item, "m "); ok {
			media, _, _ = strings.Cut(m, "/")
		}
		if u, ok := strings.CutPrefix(item, "url "); ok {
			link = u
		}
	}
	if kindOfLink(link) != "" {
		media = kindOfLink(link)
		if n.Kind != 20 && n.Kind != 21 && n.Kind != 22 {
			return // the text has it
		}
	}
	countMedia(n, media)
}

func countMedia(n *Note, media string) {
	switch media {
	case "image":
		n.Images = clip(int(n.Images) + 1)
	case "video":
		n.Videos = clip(int(n.Videos) + 1)
	case "audio":
		n.Audio = clip(int(n.Audio) + 1)
	}
}

// kindOfLink goes by the end of the path; "" when that tells nothing.
func kindOfLink(link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return ""
	}
	switch strings.ToLower(path.Ext(u.Path)) {
	case ".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".svg", ".bmp", ".heic":
		return "image"
	case ".mp4", ".webm", ".mov", ".m4v", ".mkv", ".avi", ".m3u8":
		return "video"
	case ".mp3", ".ogg", ".opus", ".wav", ".m4a", ".flac", ".aac":
		return "audio"
	}
	return ""
}

func readLink(n *Note, link string, hosts map[string]struct{}) {
	n.Links = clip(int(n.Links) + 1)
	if u, err := url.Parse(link); err == nil && u.Host != "" {
		hosts[strings.ToLower(u.Host)] = struct{}{}
	}
	countMedia(n, kindOfLink(link))
}

// withoutLinks is the text with each http and https link replaced by a space.
func withoutLinks(text string, link func(string)) string {
	if !strings.Contains(text, "://") {
		return text
	}
	var rest strings.Builder
	for {
		at := linkAt(text)
		if at < 0 {
			rest.WriteString(text)
			return rest.String()
		}
		end := strings.IndexFunc(text[at:], func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`<>"`, r) })
		if end < 0 {
			end = len(text) - at
		}
		link(text[at : at+end])
		rest.WriteString(text[:at])
		rest.WriteByte(' ')
		text = text[at+end:]
	}
}

func linkAt(text string) int {
	at := strings.Index(text, "https://")
	if plain := strings.Index(text, "http://"); plain >= 0 && (at < 0 || plain < at) {
		return plain
	}
	return at
}

func readText(n *Note, text string) {
	var upper, lower int
	var scripts [Scripts]int
	words, different := 0, make(map[uint64]struct{})
	eachWord(text, func(hash uint64) bool {
		words++
		different[hash] = struct{}{}
		return true
	})
	for _, r := range text {
		switch {
		case unicode.IsUpper(r):
			upper++
		case unicode.IsLower(r):
			lower++
		case r == '?' || r == '？' || r == '؟' || r == '՞':
			n.Question = true
		case pictograph(r):
			n.Emoji = clip(int(n.Emoji) + 1)
		}
		if unicode.IsLetter(r) {
			scripts[scriptOf(r)]++
		}
	}
	n.Words = clip(words)
	if words > 0 {
		n.Distinct = float32(len(different)) / float32(words)
	}
	if upper+lower > 0 {
		n.Capitals = float32(upper) / float32(upper+lower)
	}
	n.Lines, n.Invoices = clip(lines(text)), clip(invoices(text))
	for script, letters := range scripts {
		if letters > scripts[n.Script] {
			n.Script = Script(script)
		}
	}
}

func lines(text string) (n int) {
	for line := range strings.SplitSeq(text, "\n") {
		if strings.TrimSpace(line) != "" {
			n++
		}
	}
	return n
}

// invoices counts BOLT 11 strings: lnbc, digits and a multiplier or a
// separator, and at least a hundred more characters.
func invoices(text string) (n int) {
	for word := range strings.FieldsSeq(text) {
		at := strings.Index(strings.ToLower(word), "lnbc")
		if at >= 0 && len(word)-at > 100 {
			n++
		}
	}
	return n
}

func pictograph(r rune) bool {
	return r >= 0x1f300 && r <= 0x1faff || r >= 0x2600 && r <= 0x27bf || r >= 0x1f1e6 && r <= 0x1f1ff
}
