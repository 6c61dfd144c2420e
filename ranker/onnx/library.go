package onnx

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
	const void *(*get_api)(uint32_t version);
	const char *(*get_version)(void);
} agora_ort_base;

// agora_ort_version opens a library and copies its version, or why it has
// none, into text. The library stays open: the runtime takes it next.
static int agora_ort_version(const char *path, char *text, size_t size) {
	void *handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	if (!handle) {
		snprintf(text, size, "%s", dlerror());
		return 1;
	}
	const agora_ort_base *(*base)(void) = (const agora_ort_base *(*)(void))dlsym(handle, "OrtGetApiBase");
	if (!base || !base() || !base()->get_version) {
		snprintf(text, size, "it has no OrtGetApiBase: not an ONNX runtime");
		dlclose(handle);
		return 1;
	}
	snprintf(text, size, "%s", base()->get_version());
	return 0;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"agora/ranker"
)

const (
	libraryName = "libonnxruntime.so.1"
	// Oldest is the oldest runtime that is taken. Older ones open files that a
	// model names.
	Oldest = "1.30.0"
)

// MissingError says why no runtime can be used and what to do about it. It is
// a ranker.ErrNoRuntime.
type MissingError struct {
	Looked []string // where
	Found  string   // a library that was there and is not usable; "" for none
	Why    string   // what is wrong with it
}

func (e *MissingError) Error() string {
	fix := "run make onnxruntime, or name a library of at least " + Oldest + " with the setting onnxruntime (AGORA_ONNXRUNTIME)"
	if e.Found == "" {
		return fmt.Sprintf("%v: no %s in %s; %s", ranker.ErrNoRuntime, libraryName, strings.Join(e.Looked, ", "), fix)
	}
	return fmt.Sprintf("%v: %s: %s; %s", ranker.ErrNoRuntime, e.Found, e.Why, fix)
}

func (e *MissingError) Unwrap() error { return ranker.ErrNoRuntime }

// find is the path of the library: the one that is named, or the one next to
// the program.
func find(named string) (string, error) {
	looked := []string{named}
	if named == "" {
		exe, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find %s: %w", libraryName, err)
		}
		dir := filepath.Dir(exe)
		looked = []string{filepath.Join(dir, libraryName), filepath.Join(dir, "..", "lib", libraryName)}
	}
	for _, path := range looked {
		info, err := os.Stat(path)
		switch {
		case err == nil && info.IsDir():
			return "", &MissingError{looked, path, "it is a directory"}
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", &MissingError{looked, path, err.Error()}
		}
	}
	return "", &MissingError{Looked: looked}
}

// libraryVersion opens the library and asks it.
func libraryVersion(path string) (string, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var text [512]C.char
	if C.agora_ort_version(name, &text[0], C.size_t(len(text))) != 0 {
		return "", &MissingError{[]string{path}, path, C.GoString(&text[0])}
	}
	version := C.GoString(&text[0])
	if older(version, Oldest) {
		return "", &MissingError{[]string{path}, path, "version " + version + " is too old"}
	}
	return version, nil
}

// older compares versions by their numbers; what is no number is 0.
func older(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		m, n := number(x, i), number(y, i)
		if m != n {
			return m < n
		}
	}
	return false
}

func number(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, _ := strconv.Atoi(parts[i]) // a suffix counts as 0: older, to be safe
	return n
}
