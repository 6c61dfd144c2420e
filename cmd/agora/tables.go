package main

import (
	"bytes"
	"regexp"
	"slices"
)

var (
	tableHead = regexp.MustCompile(`^\s*\[([^\[\]]+)\]\s*(#.*)?$`)
	tableKey  = regexp.MustCompile(`^\s*([A-Za-z0-9_-]+)\s*=`)
)

// flattened lets a file write [spam] and then mode = "refuse" for spam_mode, and
// [dvm] likewise: the settings themselves have no tables. Lines keep their
// numbers.
func flattened(file []byte) []byte {
	lines := bytes.Split(file, []byte("\n"))
	inside := "" // what the names of this table begin with
	for i, line := range lines {
		if m := tableHead.FindSubmatch(line); m != nil {
			inside = ""
			if name := string(bytes.TrimSpace(m[1])); name == "spam" || name == "dvm" {
				inside, lines[i] = name+"_", nil
			}
			continue
		}
		if m := tableKey.FindSubmatchIndex(line); inside != "" && m != nil && !bytes.HasPrefix(line[m[2]:], []byte(inside)) {
			lines[i] = slices.Concat(line[:m[2]], []byte(inside), line[m[2]:])
		}
	}
	return bytes.Join(lines, []byte("\n"))
}
