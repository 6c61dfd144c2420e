package main

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"agora/web"
)

// openWeb mounts the web client, and gives back what a browser sees at the
// relay's address: the client, or the landing page in a program that was built
// without it. The landing page stays at /about.
func (d *doors) openWeb(log *slog.Logger, page http.Handler) http.Handler {
	d.about = page
	site, err := web.New()
	if err != nil {
		log.Warn("the relay's address shows its landing page only", "reason", err)
		return feedInBrowser(page)
	}
	d.web = site
	return feedInBrowser(site)
}

// feedInBrowser shows a feed in the client to whoever opens the feed's address
// as a relay in a browser. The relay has looked whether there is such a feed.
func feedInBrowser(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, ok := strings.CutPrefix(r.URL.Path, "/f/")
		if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		name, _, _ := strings.Cut(rest, "/")
		at := url.Values{"feed": {name}}
		for key, values := range r.URL.Query() {
			if key == "pov" {
				at.Set("viewer", values[0])
				continue
			}
			at.Set("knob."+key, values[0])
		}
		http.Redirect(w, r, "/?"+at.Encode(), http.StatusFound)
	})
}
