// Package foreign lets the relay stand on any eventstore.Store, and lets any
// program that speaks eventstore stand on ours.
//
//	log.go     Log: one writer, positions, the changes of this process
//	put.go     what one event does on its way in
//	graves.go  a file of what may not come back
//	read.go    filters, answered by questions every backend answers alike
//	backend.go Backend: our store as an eventstore.Store
//
// Other stores keep events and nothing else. What they cannot say, Log says
// itself: order and ties, filters in full, deletions and vanishing (which it
// reads back out of the stored kinds 5 and 62), and positions, for as long as
// the process lives. What it cannot keep it refuses: claims and labels.
package foreign
