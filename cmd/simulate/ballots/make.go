package ballots

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"agora/personhood"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

// Make appends ballots to a file of JSON lines until there are most, or ctx
// ends; what a run before has made is kept. tell hears how many there are.
func (e *Electorate) Make(ctx context.Context, name string, most int, tell func(made int)) (err error) {
	made, whole, err := e.resume(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := errors.Join(f.Truncate(whole), seekEnd(f)); err != nil {
		return err
	}
	tell(made)
	if made >= most {
		return nil
	}
	prover, err := semaphore.NewProver(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, prover.Close(context.WithoutCancel(ctx))) }()
	for i := made; i < most && ctx.Err() == nil; i++ {
		template, key, by := e.Template(i)
		ev, err := personhood.Act(ctx, prover, by, e.Address, e.Members, template, key)
		if err != nil {
			return fmt.Errorf("ballot %d: %w", i, err)
		}
		if _, err := f.WriteString(ev.String() + "\n"); err != nil {
			return err
		}
		tell(i + 1)
	}
	return nil
}

func seekEnd(f *os.File) error {
	_, err := f.Seek(0, io.SeekEnd)
	return err
}

// resume counts the ballots in a file, and the bytes of the whole lines.
func (e *Electorate) resume(name string) (made int, whole int64, err error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil { // the last line may be half written
			return made, whole, nil
		}
		var ev nostr.Event
		if err := ev.UnmarshalJSON(line); err != nil {
			return 0, 0, fmt.Errorf("%s, line %d: %w", name, made+1, err)
		}
		if err := e.Check(made, &ev); err != nil {
			return 0, 0, fmt.Errorf("%s, line %d: %w", name, made+1, err)
		}
		made, whole = made+1, whole+int64(len(line))
	}
}
