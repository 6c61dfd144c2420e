package ballots

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// The files of a packed electorate: what GET /v1/polls/{id}/ballots.jsonl
// would give, and the members file.
const (
	File        = "ballots.jsonl.zst"
	MembersFile = "members.bin"
)

// Pack writes the ballots made so far into a folder.
func (e *Electorate) Pack(work, folder string) (made int, err error) {
	made, whole, err := e.resume(work)
	if err != nil {
		return 0, err
	}
	cast, err := os.Open(work)
	if err != nil {
		return 0, err
	}
	defer cast.Close()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(folder, MembersFile), e.Members.File(), 0o644); err != nil {
		return 0, err
	}
	out, err := os.Create(filepath.Join(folder, File))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	z, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return 0, err
	}
	header := e.Group.String() + "\n" + e.RootLog.String() + "\n" + e.Poll.String() + "\n"
	if _, err := io.WriteString(z, header); err != nil {
		return 0, err
	}
	if _, err := io.Copy(z, io.LimitReader(cast, whole)); err != nil {
		return 0, err
	}
	return made, z.Close()
}

// Read returns the lines of a packed electorate: the group, its root log and
// the poll, and then the ballots, in the order of Voter.
func Read(folder string) (head, cast [][]byte, err error) {
	file, err := os.Open(filepath.Join(folder, File))
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	z, err := zstd.NewReader(file)
	if err != nil {
		return nil, nil, err
	}
	defer z.Close()
	all, err := io.ReadAll(z)
	if err != nil {
		return nil, nil, err
	}
	lines := bytes.Split(bytes.TrimSpace(all), []byte("\n"))
	if len(lines) < 4 {
		return nil, nil, fmt.Errorf("%s holds no ballots", file.Name())
	}
	return lines[:3], lines[3:], nil
}

// Last is the newest of each member's ballots: one of each person.
func Last(cast [][]byte) (out [][]byte) {
	for i, line := range cast {
		if _, turn := Voter(i); turn == Changes || i >= Fickle*(Changes+1) {
			out = append(out, line)
		}
	}
	return out
}
