package doors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"agora/feeds"
	"agora/httpapi"
)

const (
	mostStreams = 64               // event streams at once
	streamEvery = 5 * time.Second  // a stream's page is looked at again
	streamBeat  = 15 * time.Second // of silence, before a comment says that we are there
)

// serveStream sends the page as a server-sent event "page", and again whenever
// its notes or their order have changed. A reader who is behind gets the
// latest page and not each of those between.
func (d *Doors) serveStream(w http.ResponseWriter, r *http.Request) error {
	a, err := d.httpAsk(r)
	if err != nil {
		return err
	}
	if a.cursor != "" {
		return invalid("a stream begins at the top: ask without a cursor")
	}
	select {
	case d.streams <- struct{}{}:
		defer func() { <-d.streams }()
	default:
		w.Header().Set("Retry-After", "30") // seconds
		httpapi.Fail(w, http.StatusServiceUnavailable, "too many streams at the moment; ask again in half a minute")
		return nil
	}
	a.door = "stream"
	page, err := d.page(r.Context(), a)
	if err != nil {
		return err
	}
	httpapi.BeginEvents(w)
	d.stream(w, r, a, page)
	return nil
}

// stream sends until the reader or the relay goes. The answer has begun, so
// what goes wrong can only end it.
func (d *Doors) stream(w http.ResponseWriter, r *http.Request, a ask, page feeds.Page) {
	flush := http.NewResponseController(w)
	var sent []string
	spoken := time.Now()
	tick := time.NewTicker(streamEvery)
	defer tick.Stop()
	for {
		text, ids, err := d.pageEvent(a, page)
		if err != nil {
			return
		}
		switch {
		case !slices.Equal(ids, sent) || sent == nil:
			sent = ids
		case time.Since(spoken) >= streamBeat:
			text = []byte(":\n\n")
		default:
			text = nil
		}
		if text != nil {
			if _, err := w.Write(text); err != nil || flush.Flush() != nil {
				return
			}
			spoken = time.Now()
		}
		select {
		case <-r.Context().Done():
			return
		case <-d.ended:
			return
		case <-tick.C:
		}
		if page, err = d.page(r.Context(), a); err != nil {
			return
		}
	}
}

// pageEvent is a page as a server-sent event, and the ids on it.
func (d *Doors) pageEvent(a ask, page feeds.Page) (text []byte, ids []string, err error) {
	ids = make([]string, 0, len(page.Items))
	for _, it := range page.Items {
		ids = append(ids, it.Event.ID)
	}
	body, err := json.Marshal(PageJSON{Feed: d.info(a.listing), Viewer: a.viewer, Items: itemsJSON(page.Items, false), Cursor: page.Cursor, Why: whyJSON(page.Why)})
	if err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: page\nid: %d\ndata: %s\n\n", page.Why.At, body) // JSON has no line breaks
	return b.Bytes(), ids, nil
}
