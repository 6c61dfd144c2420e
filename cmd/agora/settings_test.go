package main

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"agora/relay/store"
)

// fill gives every setting a value that is not its default.
func fill(t *testing.T, cfg *Config) {
	for _, s := range settings(cfg) {
		text := map[string]string{
			"string": "a \"quoted\" \\ line\nwith ☃", "bool": "true", "int": "12345", "float64": "2.5",
			"[]string": "one,two", "[]int": "4,1059", "main.Size": "3MiB", "main.Duration": "36h",
		}[s.value.Type().String()]
		if text == "true" && s.value.Bool() {
			text = "false"
		}
		if s.separator() == ";" {
			text = "kinds=1 age=2d;size=5GiB"
		}
		if err := s.set(text); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
}

func TestPrintedConfigParsesToTheSameConfig(t *testing.T) {
	full := defaults()
	fill(t, &full)
	for name, want := range map[string]Config{"defaults": defaults(), "every setting changed": full} {
		var text bytes.Buffer
		if err := printConfig(&text, want); err != nil {
			t.Fatal(err)
		}
		var got Config
		fill(t, &got) // what is not in the file would show
		got.Retention, got.ReadySets = nil, nil
		if err := parseConfig(&text, &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i, s := range settings(&got) {
			w := settings(&want)[i]
			if s.toml() != w.toml() {
				t.Errorf("%s: %s is %s, want %s", name, s.name, s.toml(), w.toml())
			}
		}
	}
}

func TestEverySettingSaysNameUnitAndMeaning(t *testing.T) {
	cfg := defaults()
	for i, s := range settings(&cfg) {
		field := reflect.TypeOf(cfg).Field(i).Name
		if s.name == "" || s.unit == "" || len(s.help) < 10 {
			t.Errorf("%s: name %q, unit %q, help %q", field, s.name, s.unit, s.help)
		}
		if strings.ToLower(s.name) != s.name {
			t.Errorf("%s: %q is not lower case", field, s.name)
		}
	}
}

func TestUnknownKeyIsAnErrorThatNamesTheNearest(t *testing.T) {
	cfg := defaults()
	err := parseConfig(strings.NewReader("listen = \"127.0.0.1:1\"\nmax_lmit = 3\n"), &cfg)
	if err == nil || !strings.Contains(err.Error(), `line 2: "max_lmit"`) || !strings.Contains(err.Error(), `"max_limit"`) {
		t.Errorf("got %v", err)
	}
	err = unknownEnv([]string{"HOME=/", "AGORA_LISTEN=x", "AGORA_LISSEN=x"})
	if err == nil || !strings.Contains(err.Error(), "AGORA_LISSEN") || !strings.Contains(err.Error(), "AGORA_LISTEN") {
		t.Errorf("got %v", err)
	}
	if err := parseConfig(strings.NewReader("max_limit = \"many\"\n"), &cfg); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a wrong type must name its line: %v", err)
	}
}

func TestSizesAndDurationsComeBackAsWritten(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "17": 17, "512KiB": 512 << 10, "1.5 GiB": 3 << 29, "20GB": 20e9, "1 B": 1} {
		var s, again Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s is %d (%v), want %d", text, s, err, want)
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%s printed as %s is %d", text, s, again)
		}
	}
	day := 24 * time.Hour
	for text, want := range map[string]time.Duration{"0s": 0, "0": 0, "5ms": 5 * time.Millisecond, "90s": 90 * time.Second, "30d": 30 * day, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute} {
		var d, again Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.Duration != want {
			t.Errorf("%s is %v (%v), want %v", text, d.Duration, err, want)
		}
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%s printed as %s is %v", text, d, again)
		}
	}
	for _, text := range []string{"", "x", "-1", "nan", "inf", "1e300GiB", "5 parsecs"} {
		if err := new(Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for a size", text)
		}
		if err := new(Duration).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for a duration", text)
		}
	}
}

func TestRetentionRules(t *testing.T) {
	got, err := parseRetention([]string{"kinds=7,20-22 age=90d", "size=5GiB", "age=365d"})
	want := store.Retention{MaxBytes: 5 << 30, Rules: []store.AgeRule{
		{Kinds: []int{7, 20, 21, 22}, MaxAge: 90 * 24 * time.Hour},
		{MaxAge: 365 * 24 * time.Hour},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "kinds=7", "kinds=x age=1d", "kinds=70000 age=1d", "kinds=9-3 age=1d", "size=big", "age=soon", "size=1GiB age=1d", "colour=red"} {
		if _, err := parseRetention([]string{bad}); err == nil {
			t.Errorf("%q was taken for a rule", bad)
		}
	}
}
