package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func readAllLines(t *testing.T, name string) (texts []string, numbers []int) {
	t.Helper()
	var read atomic.Int64
	r, err := openLines(name, &read)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = readLines(name, r, func(l line) bool {
		if l.text == nil {
			texts, numbers = append(texts, "(too long)"), append(numbers, l.number)
			return true
		}
		texts, numbers = append(texts, string(l.text)), append(numbers, l.number)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts, numbers
}

func TestLinesReadTheSamePlainGzipAndZstd(t *testing.T) {
	text := "\xef\xbb\xbfone\r\n\ntwo  \n" + strings.Repeat("x", 300<<10) + "\nlast"
	want := []string{"one", "", "two", strings.Repeat("x", 300<<10), "last"}
	var gz, zst bytes.Buffer
	z := gzip.NewWriter(&gz)
	z.Write([]byte(text))
	z.Close()
	s, _ := zstd.NewWriter(&zst)
	s.Write([]byte(text))
	s.Close()
	for name, data := range map[string][]byte{"plain": []byte(text), "a.gz": gz.Bytes(), "no-ending": zst.Bytes()} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		texts, numbers := readAllLines(t, path)
		if !slices.Equal(texts, want) || !slices.Equal(numbers, []int{1, 2, 3, 4, 5}) {
			t.Errorf("%s: %d lines %v", name, len(texts), numbers)
		}
	}
}

func TestLineTooLongIsOneBadLineAndNoMore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(path, []byte("a\n"+strings.Repeat("y", maxLine+1)+"\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	texts, _ := readAllLines(t, path)
	if !slices.Equal(texts, []string{"a", "(too long)", "b"}) {
		t.Errorf("got %d lines", len(texts))
	}
	if _, err := eventIn(nil); err == nil {
		t.Error("a line without text was taken")
	}
}

func TestTruncatedFileIsAnErrorThatNamesTheLine(t *testing.T) {
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	z.Write([]byte("one\ntwo\nthree\n"))
	z.Close()
	r, err := unpack(bytes.NewReader(gz.Bytes()[:gz.Len()-6]))
	if err != nil {
		t.Fatal(err)
	}
	err = readLines("cut.gz", r, func(line) bool { return true })
	if err == nil || !strings.Contains(err.Error(), "cut.gz ends too early, after line") {
		t.Errorf("got %v", err)
	}
}

func TestEventIsFoundInItsFrame(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":1}`:                   `{"a":1}`,
		`["EVENT", {"a":1}]`:        `{"a":1}`,
		`["EVENT","sub",{"a":[2]}]`: `{"a":[2]}`,
	} {
		got, err := eventIn([]byte(text))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for text, want := range map[string]error{`hello`: errNoJSON, `["EVENT`: errNoJSON, `7`: errNoEvent, `null`: errNoEvent} {
		if _, err := eventIn([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{`[]`, `["EVENT"]`, `["REQ",{}]`, `["EVENT"`, `["EVENT",1,2,3]`} {
		if got, err := eventIn([]byte(text)); err == nil {
			t.Errorf("%s: %s", text, got)
		}
	}
}
