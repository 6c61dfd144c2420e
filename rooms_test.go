package agora

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rooms says which of our packages each of our packages may import. It is the
// import rule of ARCHITECTURE.md; cmd may import all. Test files are held to
// it too, but for storetest and wire, which any test may use.
var rooms = map[string][]string{
	"httpapi":              {},
	"relay":                {"relay/wire", "relay/admit", "relay/store", "relay/lowhex"},
	"relay/lowhex":         {},
	"relay/wire":           {"relay/lowhex"},
	"relay/admit":          {"relay/lowhex"},
	"relay/store":          {"relay/admit", "relay/lowhex"},
	"relay/store/foreign":  {"relay/store", "relay/admit"},
	"relay/graph":          {"httpapi", "relay/store"},
	"relay/search":         {"relay/store"},
	"relay/peer":           {"httpapi", "relay/wire", "relay/store"},
	"feeds":                {"ranker", "ranker/feature", "feeds/tally", "feeds/market"},
	"feeds/tally":          {"relay/store"},
	"feeds/market":         {"httpapi", "ranker", "ranker/feature"},
	"feeds/doors":          {"httpapi", "feeds", "feeds/market"},
	"ranker":               {"ranker/feature"},
	"ranker/feature":       {},
	"ranker/onnx":          {"ranker", "ranker/feature"},
	"ranker/builtin":       {"ranker", "ranker/feature"},
	"personhood":           {"relay/admit", "relay/lowhex", "personhood/semaphore", "personhood/poll"},
	"personhood/enrol":     {"personhood", "personhood/semaphore"},
	"personhood/host":      {"httpapi", "personhood", "personhood/enrol", "personhood/semaphore"},
	"personhood/semaphore": {},
	"personhood/poll":      {"personhood/semaphore", "relay/lowhex"},
	"spam":                 {"relay/admit"},
	"web":                  {},
}

// TestRooms parses every source and fails where a wall is broken.
func TestRooms(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || (name != "." && strings.HasPrefix(d.Name(), "."))) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		seen++
		checkFile(t, filepath.ToSlash(name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 10 {
		t.Fatalf("saw %d Go files: the walk has lost its way", seen)
	}
}

func checkFile(t *testing.T, name string) {
	room := path.Dir(name)
	if room == "." || strings.HasPrefix(room, "cmd/") {
		return
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	test := strings.HasSuffix(name, "_test.go") || strings.HasSuffix(room, "test")
	allowed, known := rooms[strings.TrimSuffix(room, "/storetest")]
	if !known {
		t.Errorf("%s: the room %s is not in the plan", name, room)
		return
	}
	for _, imp := range file.Imports {
		target, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		target, ours := strings.CutPrefix(target, "agora/")
		if !ours || target == room || slices.Contains(allowed, target) {
			continue
		}
		if test && (target == "relay/wire" || strings.HasPrefix(target, "relay/store")) {
			continue
		}
		t.Errorf("%s imports %s: the wall between %s and %s is broken", name, target, room, target)
	}
}
