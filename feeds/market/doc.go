// Package market keeps the listings of rankers: which there are, what each
// declares, whether its model may run here, and under which key the relay
// answers for it. A listing is a manifest event signed by its author; those
// that ship with the program are read by the same code as a stranger's.
//
// # The manifest
//
// An addressable event of kind 32190 (KindManifest). Its address names the
// listing, its event id the version. Tags, each once unless marked with *:
//
//	d            the slug: a-z, 0-9 and dashes, at most 64
//	name         for people, at most 100 characters
//	about        what it does, at most 2000 characters
//	picture      URL
//	x            SHA-256 of the ONNX file, 64 lower-case hex digits; absent: no model, its stages alone make the order
//	m, size      "application/onnx" and bytes of that file
//	input*       a name of the feature catalogue
//	knob*        name, least, most, default, unit, about
//	stage*       name and settings, as package feeds knows them
//	fallback     slug (of the same author) or address of the listing that answers when this one cannot
//	personalized "true" when the page depends on who reads
//	privacy      "public", "viewer" or "personal": what the model learns of the reader
//	license      SPDX name
//	prev         x of the version before
//
// # Admission
//
// Only models whose digest ships with the program or is named in the settings
// are ever handed out to be run. A listing of any other is shown as "not
// admitted", and its fallback answers in its place.
package market
