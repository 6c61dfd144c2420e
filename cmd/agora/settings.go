package main

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/urfave/cli/v3"
)

// setting is one field of a Config, with what its tags say about it.
type setting struct {
	name, group, unit, help string
	reload                  bool
	value                   reflect.Value // addressable
}

// settings lists the fields of cfg in the order of the struct.
func settings(cfg *Config) []setting {
	v := reflect.ValueOf(cfg).Elem()
	list := make([]setting, 0, v.NumField())
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		list = append(list, setting{
			name:   tag.Get("toml"),
			group:  tag.Get("group"),
			unit:   tag.Get("unit"),
			help:   tag.Get("help"),
			reload: tag.Get("reload") == "yes",
			value:  v.Field(i),
		})
	}
	return list
}

func (s setting) flag() string { return strings.ReplaceAll(s.name, "_", "-") }
func (s setting) env() string  { return "AGORA_" + strings.ToUpper(s.name) }

// set parses text as it stands in a flag or an environment variable. Lists are
// separated by commas; rules and filters, which hold commas, by semicolons.
func (s setting) set(text string) error {
	switch field := s.value.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		return field.UnmarshalText([]byte(text))
	case *string:
		*field = text
		return nil
	case *bool:
		return parseInto(field, text, "true or false", strconv.ParseBool)
	case *int:
		return parseInto(field, text, "a whole number", strconv.Atoi)
	case *float64:
		return parseInto(field, text, "a number", func(t string) (float64, error) { return strconv.ParseFloat(t, 64) })
	case *[]string:
		*field = split(text, s.separator())
		return nil
	case *[]int:
		return setInts(field, text)
	}
	return fmt.Errorf("the setting %s has the type %s, which no flag can carry", s.name, s.value.Type())
}

func (s setting) isList() bool { return s.value.Kind() == reflect.Slice }

func (s setting) separator() string {
	if s.unit == "rules" || s.unit == "filters in JSON" {
		return ";"
	}
	return ","
}

func parseInto[T any](field *T, text, want string, parse func(string) (T, error)) error {
	v, err := parse(strings.TrimSpace(text))
	if err != nil {
		return fmt.Errorf("%q is not %s", text, want)
	}
	*field = v
	return nil
}

func setInts(field *[]int, text string) error {
	var list []int
	for _, word := range split(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", word)
		}
		list = append(list, n)
	}
	*field = list
	return nil
}

func split(text, separator string) []string {
	var list []string
	for word := range strings.SplitSeq(text, separator) {
		if word = strings.TrimSpace(word); word != "" {
			list = append(list, word)
		}
	}
	return list
}

// toml is the value as it is written in the file.
func (s setting) toml() string {
	switch v := s.value.Interface().(type) {
	case fmt.Stringer: // Size, Duration
		return strconv.Quote(v.String())
	case string:
		return quoteTOML(v)
	case []string:
		quoted := make([]string, len(v))
		for i, word := range v {
			quoted[i] = quoteTOML(word)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case []int:
		words := make([]string, len(v))
		for i, n := range v {
			words[i] = strconv.Itoa(n)
		}
		return "[" + strings.Join(words, ", ") + "]"
	case float64:
		text := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0" // TOML tells whole numbers and fractions apart
		}
		return text
	default:
		return fmt.Sprint(v)
	}
}

// quoteTOML writes a basic string. TOML knows no \x and no \a, which
// strconv.Quote would use.
func quoteTOML(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// printConfig writes every setting with its meaning, unit and default. What it
// writes is a configuration file that gives cfg again.
func printConfig(w io.Writer, cfg Config) error {
	standard := defaults()
	before := settings(&standard)
	var b strings.Builder
	b.WriteString("# Every setting of agora. The flag is the same name with dashes, the environment\n" +
		"# variable the same name in capitals after AGORA_ (lists: separated by commas).\n" +
		"# A flag counts more than the environment, the environment more than this file.\n" +
		"# [reload] marks what SIGHUP changes without a restart.\n")
	for i, s := range settings(&cfg) {
		if s.group != "" {
			fmt.Fprintf(&b, "\n## %s\n", s.group)
		}
		mark := ""
		if s.reload {
			mark = " [reload]"
		}
		fmt.Fprintf(&b, "\n# %s.%s\n# unit: %s; default: %s\n%s = %s\n", s.help, mark, s.unit, before[i].toml(), s.name, s.toml())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// loadConfig reads the defaults, then the file, then the environment and the
// flags that cmd was given.
func loadConfig(cmd *cli.Command) (Config, error) {
	cfg := defaults()
	if path := cmd.String("config"); path != "" {
		if err := readConfig(path, &cfg); err != nil {
			return cfg, usage(err)
		}
	}
	for _, s := range settings(&cfg) {
		text, from, given := given(cmd, s)
		if !given {
			continue
		}
		if err := s.set(text); err != nil {
			return cfg, usage(fmt.Errorf("%s: %w", from, err))
		}
	}
	if err := unknownEnv(os.Environ()); err != nil {
		return cfg, usage(err)
	}
	return cfg, usage(cfg.validate())
}

// given finds a setting among flags and environment.
func given(cmd *cli.Command, s setting) (text, from string, ok bool) {
	if cmd.IsSet(s.flag()) {
		if s.value.Kind() == reflect.Bool {
			return strconv.FormatBool(cmd.Bool(s.flag())), "--" + s.flag(), true
		}
		if s.isList() {
			return strings.Join(cmd.StringSlice(s.flag()), s.separator()), "--" + s.flag(), true
		}
		return cmd.String(s.flag()), "--" + s.flag(), true
	}
	text, ok = os.LookupEnv(s.env())
	return text, s.env(), ok
}

// readConfig reads the file over what cfg holds.
func readConfig(path string, cfg *Config) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	defer file.Close()
	if err := parseConfig(file, cfg); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

func parseConfig(r io.Reader, cfg *Config) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	err = toml.NewDecoder(bytes.NewReader(flattened(raw))).DisallowUnknownFields().Decode(cfg)
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		return unknownKeys(strict, bytes.Split(raw, []byte("\n")))
	}
	if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, column := bad.Position()
		where := ""
		if key := bad.Key(); len(key) > 0 {
			where = " (" + strings.Join(key, ".") + ")"
		}
		return fmt.Errorf("line %d, column %d: %s%s", row, column, plainly(strings.TrimPrefix(bad.Error(), "toml: ")), where)
	}
	return err
}

// plainly says without Go's types that a value is of the wrong one.
func plainly(what string) string {
	is, want, wrong := strings.Cut(strings.TrimPrefix(what, "cannot decode TOML "), " into struct field ")
	if !wrong {
		return what
	}
	want = want[strings.LastIndexByte(want, ' ')+1:]
	if word, ok := map[string]string{"string": "text in quotes", "bool": "true or false", "int": "a whole number", "float64": "a number", "[]string": "a list in brackets"}[want]; ok {
		want = word
	}
	return fmt.Sprintf("want %s, not %s (agora serve --print-config shows each setting)", want, is)
}

// unknownKeys names each key that is no setting, and what was probably meant;
// lines are those of the file.
func unknownKeys(strict *toml.StrictMissingError, lines [][]byte) error {
	var all []error
	for i := range strict.Errors {
		bad := &strict.Errors[i]
		row, _ := bad.Position()
		key := strings.Join(bad.Key(), ".")
		if table, _, inside := strings.Cut(key, "."); inside || tableHead.Match(lines[row-1]) {
			all = append(all, fmt.Errorf("line %d: there is no table [%s]: settings stand without one, but for [spam] and [dvm] (agora serve --print-config lists all)", row, table))
			continue
		}
		all = append(all, fmt.Errorf("line %d: %q is not a setting%s (agora serve --print-config lists all)", row, key, nearest(key, settingNames())))
	}
	return errors.Join(all...)
}

// unknownEnv refuses a mistyped AGORA_ variable, which would otherwise be
// ignored in silence.
func unknownEnv(environ []string) error {
	known := []string{"AGORA_CONFIG", "AGORA_PASSPHRASE"} // the second opens an identity (agora person)
	for _, name := range settingNames() {
		known = append(known, "AGORA_"+strings.ToUpper(name))
	}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "AGORA_") && !slices.Contains(known, name) {
			return fmt.Errorf("the environment variable %s is not a setting%s", name, nearest(name, known))
		}
	}
	return nil
}

func settingNames() []string {
	var cfg Config
	var names []string
	for _, s := range settings(&cfg) {
		names = append(names, s.name)
	}
	return names
}

// nearest is "; the nearest is X" with the word that has the fewest letters to
// change, or nothing where half of them would.
func nearest(word string, among []string) string {
	if len(among) == 0 {
		return ""
	}
	best := slices.MinFunc(among, func(a, b string) int { return distance(word, a) - distance(word, b) })
	if 2*distance(word, best) > len(strings.TrimLeft(best, "-")) {
		return ""
	}
	return fmt.Sprintf("; the nearest is %q", best)
}

// distance is Levenshtein's: insertions, deletions and replacements.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// configFlags are the flags for the named settings, or for all of them.
func configFlags(only ...string) []cli.Flag {
	standard := defaults()
	flags := []cli.Flag{&cli.StringFlag{
		Name: "config", Aliases: []string{"c"}, Sources: cli.EnvVars("AGORA_CONFIG"), TakesFile: true,
		Usage: "read settings from this TOML `file`",
	}}
	for _, s := range settings(&standard) {
		if len(only) > 0 && !slices.Contains(only, s.name) {
			continue
		}
		flags = append(flags, s.cliFlag())
	}
	return flags
}

func (s setting) cliFlag() cli.Flag {
	var aliases []string
	if s.flag() != s.name {
		aliases = []string{s.name} // the spelling of the file works too
	}
	text := fmt.Sprintf("%s (%s; default %s) [$%s]", s.help, s.unit, s.toml(), s.env())
	if s.value.Kind() == reflect.Bool {
		return &cli.BoolFlag{Name: s.flag(), Aliases: aliases, Usage: text, HideDefault: true}
	}
	if s.isList() {
		text = fmt.Sprintf("%s (%s, separated by %q, or the flag repeated; default %s) [$%s]", s.help, s.unit, s.separator(), s.toml(), s.env())
		return &cli.StringSliceFlag{Name: s.flag(), Aliases: aliases, Usage: text, HideDefault: true}
	}
	return &cli.StringFlag{Name: s.flag(), Aliases: aliases, Usage: text, HideDefault: true}
}
