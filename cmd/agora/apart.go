package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// isInside is set in a process that checks: file 3 takes its exit code, file 4
// is its stderr.
const isInside = "_AGORA_CHECK_INSIDE"

// apart runs agora check in a process of its own, everything else in this one.
// The store is read through a memory map, where damaged pages, or those that a
// copy lacks, end a process by a signal before it can say what is wrong.
func apart(args []string) int {
	if len(args) < 2 || args[1] != "check" {
		return run(args)
	}
	if os.Getenv(isInside) != "" {
		return checkInside(args)
	}
	program, err := os.Executable()
	if err != nil {
		return run(args)
	}
	check := exec.Command(program, args[1:]...) //nolint:noctx // it ends by the signals passed on
	check.Args[0] = args[0]
	code, err := checkOutside(check)
	if err != nil {
		fmt.Fprintf(os.Stderr, "agora: the check was ended (%v) where it read the store: the file is damaged or cut short, restore a backup\n", err)
		return exitDamaged
	}
	return code
}

// checkInside checks, and tells its outcome to the process that waits.
func checkInside(args []string) int {
	os.Stderr = os.NewFile(4, "stderr") // the one it has is for the runtime's last words
	code := run(args)
	_, _ = fmt.Fprint(os.NewFile(3, "outcome"), code) // who is told nothing takes it for damage
	return code
}

// checkOutside runs the check and waits for its outcome. An error is how it
// ended without one.
func checkOutside(check *exec.Cmd) (code int, err error) {
	read, write, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer func() { _ = read.Close() }() // it was only read
	var last bytes.Buffer
	check.Stdin, check.Stdout, check.Stderr = os.Stdin, os.Stdout, &last
	check.ExtraFiles = []*os.File{write, os.Stderr}
	check.Env = append(os.Environ(), isInside+"=1")
	stop := make(chan os.Signal, 1) // one is enough to stop it
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)
	err = check.Start()
	_ = write.Close() // the check has its own
	if err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case sig := <-stop:
			_ = check.Process.Signal(sig) // it may have ended
		case <-ended:
		}
	}()
	_, told := fmt.Fscan(read, &code)
	if how := check.Wait(); told != nil {
		word, _, _ := strings.Cut(last.String(), "\n")
		return 0, fmt.Errorf("%w, %s", how, printable(word))
	}
	return code, nil
}
