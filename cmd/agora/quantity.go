package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. It is written with a unit ("512KiB", "20GB") or
// as a plain number of bytes.
type Size int64

// sizeUnits from large to small, binary before decimal, so that printing finds
// the shortest exact form.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// UnmarshalText parses "512KiB".
func (s *Size) UnmarshalText(text []byte) error {
	word := strings.TrimSpace(string(text))
	unit := int64(1)
	for _, u := range sizeUnits {
		if number, ok := strings.CutSuffix(word, u.name); ok {
			word, unit = strings.TrimSpace(number), u.bytes
			break
		}
	}
	number, err := strconv.ParseFloat(word, 64)
	if err != nil || math.IsNaN(number) || number < 0 || number*float64(unit) > math.MaxInt64/2 {
		return fmt.Errorf("%q is not a size: write bytes, or a number with KiB, MiB, GiB or TiB", text)
	}
	*s = Size(math.Round(number * float64(unit)))
	return nil
}

// String is the shortest exact form.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 && u.name != "B" {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// human is a rounded form for people, "1.4 GiB".
func (s Size) human() string {
	for _, u := range sizeUnits[:4] {
		if int64(s) >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(s)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", int64(s))
}

// Duration is a length of time. It is written with a unit: Go's "90s", "15m",
// "1h30m", and "30d" or "1d12h" for days of 24 hours.
type Duration struct{ time.Duration }

// UnmarshalText parses "30d" or "1h30m".
func (d *Duration) UnmarshalText(text []byte) error {
	word := strings.TrimSpace(string(text))
	bad := fmt.Errorf("%q is not a length of time: write a number with s, m, h or d, such as 15m or 30d", text)
	var days time.Duration
	if before, after, ok := strings.Cut(word, "d"); ok {
		n, err := strconv.ParseFloat(before, 64)
		if err != nil || math.IsNaN(n) || n < 0 || n > 36500 {
			return bad
		}
		days, word = time.Duration(n*24*float64(time.Hour)), after
	}
	if word == "0" || (word == "" && days > 0) {
		d.Duration = days
		return nil
	}
	rest, err := time.ParseDuration(word)
	if err != nil || rest < 0 {
		return bad
	}
	d.Duration = days + rest
	return nil
}

// String is the shortest exact form.
func (d Duration) String() string {
	const day = 24 * time.Hour
	if d.Duration >= day && d.Duration%day == 0 {
		return strconv.FormatInt(int64(d.Duration/day), 10) + "d"
	}
	text := d.Duration.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
