package doors

import (
	_ "embed" // the document
	"net/http"
)

//go:embed openapi.json
var openAPI []byte

// serveOpenAPI answers with the description of everything Handler serves, and
// of the market's addresses.
func (d *Doors) serveOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(openAPI) // a reader that has left needs no answer
	return nil
}
