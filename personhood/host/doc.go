// Package host keeps groups of people: who is in, by what evidence, and the
// roots that are published of them.
//
// # The log
//
// Every enrolment and removal is one line of a log, and the log is all there
// is: members, their order and the roots follow from it. A line is on disk
// before the answer to who joined. What is public of it is served over HTTP as
// JSON lines:
//
//	{"n":1,"op":"add","leaf":0,"commitment":"…","source":"invite","class":"invited","evidence":"…","prev":"…"}
//	{"n":2,"op":"remove","leaf":0,"why":"revoked","prev":"…"}
//
// evidence is the SHA-256 of the text that was brought: whoever brought it can
// show that text, and nobody can guess it. prev is the SHA-256 of the line
// before, without its end, 64 zeros for the first. A line has no time and says
// nothing of who invited whom. The number of lines and the SHA-256 of the last
// are in the tag ["log", n, hash] of each root's events, so a host cannot
// change a line that a root was published over.
//
// # Roots
//
// A root is published for all who joined since the last one, hourly by
// default, so that a new root does not say who joined when. Until then the
// lines are not served either. Removal sets a leaf to zero with the next root.
//
// # Promises
//
// One Unique lets in one commitment, one commitment is one leaf, and neither
// is free again after a removal. Rebuilding 100,000 members takes some seconds
// of CPU at the start. A log that does not fit its own hashes, or the root
// that was last published, ends the start: it is our own corruption.
package host
