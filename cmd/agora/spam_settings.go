package main

import (
	"bytes"
	"regexp"
)

var (
	tableHead = regexp.MustCompile(`^\s*\[([^\[\]]+)\]\s*(#.*)?$`)
	tableKey  = regexp.MustCompile(`^\s*([A-Za-z0-9_-]+)\s*=`)
)

// flattened lets a file write [spam] and then mode = "refuse" for spam_mode:
// the settings themselves have no tables. Lines keep their numbers.
func flattened(file []byte) []byte {
	lines := bytes.Split(file, []byte("\n"))
	inside := false
	for i, line := range lines {
		if m := tableHead.FindSubmatch(line); m != nil {
			if inside = string(bytes.TrimSpace(m[1])) == "spam"; inside {
				lines[i] = nil
			}
			continue
		}
		if m := tableKey.FindSubmatchIndex(line); inside && m != nil && !bytes.HasPrefix(line[m[2]:], []byte("spam_")) {
			lines[i] = append(append(append([]byte{}, line[:m[2]]...), "spam_"...), line[m[2]:]...)
		}
	}
	return bytes.Join(lines, []byte("\n"))
}
