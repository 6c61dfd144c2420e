// Package doors is the shapes a page leaves in: a relay whose answers are the
// page, keys of a search, a job that is answered by events, and HTTP in JSON,
// RSS, Atom, JSON Feed, a stream of server-sent events and Bluesky's feed
// skeleton. It ranks nothing.
//
// # The three shapes of a feed as a relay
//
// /f/<ref> answers in rank order. Most clients sort what they get by
// created_at, so /f/<ref>/time answers with the best of every six hours, and
// /f/<ref>/ranked with reposts by the listing's own key whose created_at is the
// rank: the repost of rank i in the epoch that began at E (a multiple of 900
// s) says E-1-i. Epochs hold at most 900 ranks, so they never overlap, and a
// client that pages by until walks down the ranks and then into the epoch
// before. A note comes again only where it has risen.
//
// Only questions for content get the page. Whatever names ids, tags or a
// profile is answered as on the root, so that a client with no other relay
// shows names, threads and reactions.
package doors
