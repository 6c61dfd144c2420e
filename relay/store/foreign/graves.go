package foreign

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"agora/relay/store"
)

// graves is a file of what may not come back although no stored event says
// so any more: what the operator banned, the wrapped messages that vanished,
// and what requests said that are gone themselves. One line each:
//
//	ban <id> | unban <id> | wrap <id>
//	id <deleter> <id> | address <deleter> <created_at> <address> | vanish <pubkey> <created_at>
type graves struct {
	file      *os.File
	banned    map[store.ID]bool
	wraps     map[store.ID]bool
	ids       map[burial]bool
	addresses map[string]int64 // newest deletion, unix seconds
	vanished  map[string]int64 // newest request by hex key, unix seconds
}

// burial is an id and whose request it was.
type burial struct {
	id      store.ID
	deleter string // hex public key
}

func openGraves(name string) (*graves, error) {
	g := &graves{
		banned: map[store.ID]bool{}, wraps: map[store.ID]bool{}, ids: map[burial]bool{},
		addresses: map[string]int64{}, vanished: map[string]int64{},
	}
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the file of graves: %w", err)
	}
	g.file = file
	if err := g.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), file.Close())
	}
	return g, nil
}

// load reads the file. A last line without its end was never promised to
// anybody: it is cut off.
func (g *graves) load() error {
	r := bufio.NewReader(g.file)
	var whole int64
	for number := 1; ; number++ {
		line, err := r.ReadString('\n')
		if err != nil {
			return g.file.Truncate(whole)
		}
		if !g.apply(strings.Fields(line)) {
			return fmt.Errorf("line %d is damaged: %.100q", number, line)
		}
		whole += int64(len(line))
	}
}

// apply takes one line; false if it is none.
func (g *graves) apply(f []string) bool {
	if len(f) < 2 {
		return false
	}
	switch {
	case len(f) == 2:
		return g.applyID(f[0], f[1])
	case f[0] == "id" && len(f) == 3:
		id, err := store.ParseID(f[2])
		g.ids[burial{id, f[1]}] = true
		return err == nil
	case f[0] == "address" && len(f) >= 4:
		at, err := strconv.ParseInt(f[2], 10, 64)
		addr, err2 := strconv.Unquote(strings.Join(f[3:], " "))
		g.addresses[addr] = max(g.addresses[addr], at)
		return err == nil && err2 == nil
	case f[0] == "vanish" && len(f) == 3:
		at, err := strconv.ParseInt(f[2], 10, 64)
		g.vanished[f[1]] = max(g.vanished[f[1]], at)
		return err == nil
	}
	return false
}

func (g *graves) applyID(word, hex string) bool {
	id, err := store.ParseID(hex)
	switch word {
	case "ban":
		g.banned[id] = true
	case "unban":
		delete(g.banned, id)
	case "wrap":
		g.wraps[id] = true
	default:
		return false
	}
	return err == nil
}

// dig writes lines for good, then lets them count.
func (g *graves) dig(lines ...string) error {
	if len(lines) == 0 {
		return nil
	}
	if _, err := g.file.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		return fmt.Errorf("write the graves: %w", err)
	}
	if err := g.file.Sync(); err != nil {
		return fmt.Errorf("sync the graves: %w", err)
	}
	for _, line := range lines {
		g.apply(strings.Fields(line))
	}
	return nil
}

func (g *graves) close() error { return g.file.Close() }
