package doors

import (
	_ "embed" // the document
	"net/http"
)

//go:embed openapi.json
var openAPI []byte

// OpenAPI answers with the description of everything that a relay may serve over
// HTTP: feeds, the market, polls, groups. What is off is 404 there.
func OpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(openAPI) // a reader that has left needs no answer
}
