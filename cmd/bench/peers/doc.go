// Package peers is a module of its own for the relays that cmd/bench runs
// beside ours, so that their dependencies never become ours.
package peers
