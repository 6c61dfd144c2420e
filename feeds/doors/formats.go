package doors

import (
	"encoding/xml"
	"net/http"
	"strings"
	"time"
	"unicode"

	"agora/feeds"
	"agora/httpapi"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// entry is one note as the readers of RSS, Atom and JSON Feed get it.
type entry struct {
	id     string // nostr:nevent1…
	page   string // where a browser shows it
	title  string
	text   string
	author string // npub
	at     time.Time
}

// mostTitle is the length of a title, in characters.
const mostTitle = 80

// entryOf tells a note in plain text: a stranger's words are never markup.
func (d *Doors) entryOf(ev *nostr.Event) entry {
	e := entry{id: "nostr:" + ev.ID, page: d.web() + "/?note=" + ev.ID, author: ev.PubKey, text: printable(ev.Content), at: ev.CreatedAt.Time().UTC()}
	if name, err := nip19.EncodeEvent(ev.ID, nil, ev.PubKey); err == nil {
		e.id = "nostr:" + name
	}
	if npub, err := nip19.EncodePublicKey(ev.PubKey); err == nil {
		e.author = npub
	}
	title := ""
	for _, name := range []string{"title", "subject", "name"} {
		if tag := ev.Tags.Find(name); title == "" && len(tag) > 1 {
			title = printable(tag[1])
		}
	}
	if title == "" {
		title, _, _ = strings.Cut(strings.TrimSpace(e.text), "\n")
	}
	if r := []rune(title); len(r) > mostTitle {
		title = string(r[:mostTitle-1]) + "…"
	}
	if e.title = strings.TrimSpace(title); e.title == "" {
		e.title = "a note"
	}
	return e
}

// printable drops what XML 1.0 cannot hold.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != unicode.ReplacementChar && r != 0xFFFE && r != 0xFFFF && r != 0x7F {
			return r
		}
		return -1
	}, s)
}

// readable answers a request for a page as a list of entries.
func (d *Doors) readable(r *http.Request, door string) (a ask, list []entry, err error) {
	if a, err = d.httpAsk(r); err != nil {
		return a, nil, err
	}
	a.door = door
	page, err := d.page(r.Context(), a)
	for i := range page.Items {
		list = append(list, d.entryOf(page.Items[i].Event))
	}
	return a, list, err
}

func writeXML(w http.ResponseWriter, kind string, doc any) error {
	body, err := xml.MarshalIndent(doc, "", " ")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind+"; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append([]byte(xml.Header), body...)) // a reader that has left needs no answer
	return nil
}

type rss struct {
	XMLName xml.Name   `xml:"rss"`
	Version string     `xml:"version,attr"`
	DC      string     `xml:"xmlns:dc,attr"`
	Channel rssChannel `xml:"channel"`
}

type rssChannel struct {
	Title       string    `xml:"title"`
	Link        string    `xml:"link"`
	Description string    `xml:"description"`
	Items       []rssItem `xml:"item"`
}

type rssItem struct {
	Title       string  `xml:"title"`
	Description string  `xml:"description"`
	Link        string  `xml:"link"`
	GUID        rssGUID `xml:"guid"`
	Creator     string  `xml:"dc:creator"`
	PubDate     string  `xml:"pubDate"`
}

type rssGUID struct {
	IsPermaLink bool   `xml:"isPermaLink,attr"`
	Text        string `xml:",chardata"`
}

// serveRSS answers in RSS 2.0.
func (d *Doors) serveRSS(w http.ResponseWriter, r *http.Request) error {
	a, list, err := d.readable(r, "rss")
	if err != nil {
		return err
	}
	doc := rss{Version: "2.0", DC: "http://purl.org/dc/elements/1.1/", Channel: rssChannel{
		Title: printable(a.listing.Name), Link: d.web() + "/", Description: orElse(printable(a.listing.About), "A feed of notes."), Items: []rssItem{},
	}}
	for _, e := range list {
		doc.Channel.Items = append(doc.Channel.Items, rssItem{
			Title: e.title, Description: asHTML(e.text), Link: e.page, GUID: rssGUID{false, e.id}, Creator: e.author, PubDate: e.at.Format(time.RFC1123Z),
		})
	}
	return writeXML(w, "application/rss+xml", doc)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// asHTML is a text as markup that shows just this text: readers of RSS take
// descriptions for HTML.
func asHTML(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;", "\n", "<br>").Replace(text)
}

type atomFeed struct {
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string      `xml:"id"`
	Title   string      `xml:"title"`
	Summary string      `xml:"subtitle,omitempty"`
	Updated string      `xml:"updated"`
	Links   []atomLink  `xml:"link"`
	Entries []atomEntry `xml:"entry"`
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Href string `xml:"href,attr"`
}

type atomEntry struct {
	ID      string     `xml:"id"`
	Title   string     `xml:"title"`
	Updated string     `xml:"updated"`
	Author  atomAuthor `xml:"author"`
	Content atomText   `xml:"content"`
	Links   []atomLink `xml:"link"`
}

type atomAuthor struct {
	Name string `xml:"name"`
	URI  string `xml:"uri"`
}

type atomText struct {
	Type string `xml:"type,attr"`
	Text string `xml:",chardata"`
}

// serveAtom answers in Atom (RFC 4287).
func (d *Doors) serveAtom(w http.ResponseWriter, r *http.Request) error {
	a, list, err := d.readable(r, "atom")
	if err != nil {
		return err
	}
	newest := a.listing.Event.CreatedAt.Time().UTC()
	doc := atomFeed{ID: "nostr:" + d.naddr(a), Title: printable(a.listing.Name), Summary: printable(a.listing.About), Links: []atomLink{
		{"self", d.web() + r.URL.RequestURI()}, {"alternate", d.web() + "/"},
	}}
	for _, e := range list {
		if e.at.After(newest) {
			newest = e.at
		}
		doc.Entries = append(doc.Entries, atomEntry{
			ID: e.id, Title: e.title, Updated: e.at.Format(time.RFC3339), Author: atomAuthor{e.author, "nostr:" + e.author},
			Content: atomText{"text", e.text}, Links: []atomLink{{"alternate", e.page}, {"related", e.id}},
		})
	}
	doc.Updated = newest.Format(time.RFC3339)
	return writeXML(w, "application/atom+xml", doc)
}

func (d *Doors) naddr(a ask) string { return d.cfg.Market.Show(a.listing).Naddr }

// JSONFeed is a page in JSON Feed 1.1.
type JSONFeed struct {
	Version     string         `json:"version"`
	Title       string         `json:"title"`
	HomePage    string         `json:"home_page_url"`
	Self        string         `json:"feed_url"`
	Description string         `json:"description,omitempty"`
	Next        string         `json:"next_url,omitempty"`
	Items       []JSONFeedItem `json:"items"`
}

// JSONFeedItem is one note in it.
type JSONFeedItem struct {
	ID        string           `json:"id"`
	URL       string           `json:"url"`
	Title     string           `json:"title,omitempty"`
	Text      string           `json:"content_text"`
	Published string           `json:"date_published"`
	Authors   []JSONFeedAuthor `json:"authors"`
}

// JSONFeedAuthor is who wrote it.
type JSONFeedAuthor struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// serveJSONFeed answers in JSON Feed 1.1.
func (d *Doors) serveJSONFeed(w http.ResponseWriter, r *http.Request) error {
	a, err := d.httpAsk(r)
	if err != nil {
		return err
	}
	a.door = "jsonfeed"
	page, err := d.page(r.Context(), a)
	if err != nil {
		return err
	}
	doc := JSONFeed{
		Version: "https://jsonfeed.org/version/1.1", Title: a.listing.Name, HomePage: d.web() + "/", Self: d.web() + r.URL.RequestURI(),
		Description: a.listing.About, Next: d.next(r, page), Items: []JSONFeedItem{},
	}
	for i := range page.Items {
		e := d.entryOf(page.Items[i].Event)
		doc.Items = append(doc.Items, JSONFeedItem{
			ID: e.id, URL: e.page, Title: e.title, Text: e.text, Published: e.at.Format(time.RFC3339),
			Authors: []JSONFeedAuthor{{e.author, "nostr:" + e.author}},
		})
	}
	w.Header().Set("Content-Type", "application/feed+json")
	httpapi.Reply(w, http.StatusOK, doc)
	return nil
}

// next is the address of the page after this one; empty: there is none.
func (d *Doors) next(r *http.Request, page feeds.Page) string {
	if page.Cursor == "" {
		return ""
	}
	q := r.URL.Query()
	q.Set("cursor", page.Cursor)
	return d.web() + r.URL.Path + "?" + q.Encode()
}
