package main

import (
	"log/slog"
	"net/http"

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
		return page
	}
	d.web = site
	return site
}
