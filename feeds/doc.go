// Package feeds turns a request into a page: candidates, features, scores,
// diversity, page, each with its why. Which algorithm does it is a listing; the
// listing's model is an ONNX file that sees only what ranker/feature fills in.
//
// # Stages
//
// What cannot be a model is a named stage, and any listing may switch any stage
// on. A stage is a name and settings, "dpp theta=0.65". Stage names are:
//
//	from-follows      candidates: notes of keys that the viewer follows
//	from-trusted      candidates: notes that keys the viewer follows acted upon
//	from-colikers     candidates: notes liked by those who like what the viewer likes
//	from-global       candidates: notes most acted upon, by trust
//	from-recent       candidates: the newest notes
//	from-new-authors  candidates: notes of keys seen for less than 24 hours
//	max-age           hours=48: older notes are left out
//	no-replies        answers to other notes are left out
//	out-of-network    notes of keys that the viewer follows are left out
//	colike            fills stage.colike; half_life=hours (72; 24, 72, 168 or 720,
//	                  whichever is nearest), popularity=exponent (0.5)
//	bridge            fills stage.bridge_* and viewer.bridge_factor
//	novelty           fills stage.novelty
//	author-decay      an author's second, third … note counts decay=0.5, floor=0.25 of its score
//	author-cap        most=1: at most so many notes of an author on all pages
//	new-author-slot   at=15: the best note of a new author moves up to this place
//	dpp               theta=0.65 first=150: variety among the first so many notes
//
// A listing without a source gets from-recent and from-global, and for a viewer
// who follows somebody from-follows and from-trusted.
//
// A setting may name a knob of the listing in place of a number: "dpp
// theta=$variety".
//
// # Pages
//
// A first page ranks all its candidates once; the cursor names that ranking,
// and the pages after it are cut from it, so that nothing repeats and nothing
// is skipped while notes pour in. What is deleted, expires or is muted
// meanwhile is left out of later pages. Rankings are kept in bounded memory for
// a bounded time; a cursor whose ranking is gone says so.
//
// A model that is missing, late or wrong never costs the reader a page: the
// listing's fallback answers within the same request, and Why says so.
package feeds
