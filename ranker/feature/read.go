package feature

import (
	"slices"
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
	var hosts []string
	text := withoutLinks(ev.Content, func(link string) { readLink(&n, link, &hosts) })
	n.Hosts = clip(len(hosts))
	readText(&n, text)
	return n
}

func clip(n int) uint16 { return uint16(min(n, 1<<16-1)) }

func readTags(n *Note, ev *nostr.Event) {
	seen := make([]map[string]struct{}, 3)
	for _, tag := range ev.Tags {
		if len(tag) == 0 {
			continue
		}
		value := ""
		if len(tag) > 1 {
			value = tag[1]
		}
		switch tag[0] {
		case "t":
			collect(&seen[0], value)
		case "p":
			collect(&seen[1], value)
		case "q":
			collect(&seen[2], value)
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
	n.Hashtags, n.Mentions, n.Quotes = clip(len(seen[0])), clip(len(seen[1])), clip(len(seen[2]))
}

func collect(set *map[string]struct{}, value string) {
	if *set == nil {
		*set = make(map[string]struct{})
	}
	(*set)[value] = struct{}{}
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
	_, path := cutLink(link)
	dot := strings.LastIndexByte(path, '.')
	if dot < 0 || len(path)-dot > 6 {
		return ""
	}
	switch strings.ToLower(path[dot:]) {
	case ".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".svg", ".bmp", ".heic":
		return "image"
	case ".mp4", ".webm", ".mov", ".m4v", ".mkv", ".avi", ".m3u8":
		return "video"
	case ".mp3", ".ogg", ".opus", ".wav", ".m4a", ".flac", ".aac":
		return "audio"
	}
	return ""
}

// cutLink is the host, port included and user left out, and the path of a
// link. It is asked of every link of every note, and need not refuse a bad one.
func cutLink(link string) (host, path string) {
	_, rest, ok := strings.Cut(link, "://")
	if !ok {
		return "", ""
	}
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	host, path, _ = strings.Cut(rest, "/")
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		host = host[at+1:]
	}
	return host, path
}

func readLink(n *Note, link string, hosts *[]string) {
	n.Links = clip(int(n.Links) + 1)
	host, _ := cutLink(link)
	if host = strings.ToLower(host); host != "" && len(*hosts) < mostHosts && !slices.Contains(*hosts, host) {
		*hosts = append(*hosts, host)
	}
	countMedia(n, kindOfLink(link))
}

// mostHosts bounds the hosts of one note that are told apart.
const mostHosts = 256

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
	readWords(n, text)
	var upper, lower int
	var scripts [Scripts]int
	tables, last := scriptTables(), Latin
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
			last = scriptOf(r, last, &tables)
			scripts[last]++
		}
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

// readWords counts words, and different ones by their hashes in a table that
// is twice as large as the words it takes; beyond those a note is a book, and
// its first part speaks for it.
func readWords(n *Note, text string) {
	const slots = 1024
	var table [slots]uint64
	words, looked, different := 0, 0, 0
	eachWord(text, func(hash uint64) bool {
		words++
		if looked == slots/2 {
			return true
		}
		looked++
		at := (hash ^ hash>>32) % slots
		for table[at] != 0 && table[at] != hash {
			at = (at + 1) % slots
		}
		if table[at] == 0 {
			table[at] = hash
			different++
		}
		return true
	})
	n.Words = clip(words)
	if looked > 0 {
		n.Distinct = float32(different) / float32(looked)
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

// invoices counts BOLT 11 strings: words with lnbc and more than a hundred
// bytes from there on.
func invoices(text string) (n int) {
	if !strings.Contains(text, "lnbc") && !strings.Contains(text, "LNBC") {
		return 0
	}
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
