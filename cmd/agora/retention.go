package main

import (
	"fmt"
	"strconv"
	"strings"

	"agora/relay/store"
)

// parseRetention reads the rules of the setting "retention": words of
// kinds=LIST age=TIME, or size=BYTES. A list has numbers and ranges, 7,20-22.
func parseRetention(rules []string) (store.Retention, error) {
	var r store.Retention
	for _, rule := range rules {
		if err := addRule(&r, rule); err != nil {
			return r, usage(fmt.Errorf("retention rule %q: %w", rule, err))
		}
	}
	return r, nil
}

func addRule(r *store.Retention, rule string) error {
	var age store.AgeRule
	var hasAge, hasSize bool
	for word := range strings.FieldsSeq(rule) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "kinds":
			kinds, err := parseKinds(value)
			if err != nil {
				return err
			}
			age.Kinds = kinds
		case "age":
			var d Duration
			if err := d.UnmarshalText([]byte(value)); err != nil {
				return err
			}
			age.MaxAge, hasAge = d.Duration, true
		case "size":
			var s Size
			if err := s.UnmarshalText([]byte(value)); err != nil {
				return err
			}
			r.MaxBytes, hasSize = int64(s), true
		default:
			return fmt.Errorf("%q is not one of kinds=, age= and size=", word)
		}
	}
	if hasSize == hasAge || (hasSize && age.Kinds != nil) {
		return fmt.Errorf("write kinds=LIST age=TIME, or age=TIME for all kinds, or size=BYTES")
	}
	if hasAge {
		r.Rules = append(r.Rules, age)
	}
	return nil
}

// parseKinds reads 7,20-22.
func parseKinds(text string) ([]int, error) {
	var kinds []int
	for word := range strings.SplitSeq(text, ",") {
		from, to, ranged := strings.Cut(word, "-")
		if !ranged {
			to = from
		}
		low, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q is not a kind: want 0 to 65535", word)
		}
		high, err := strconv.ParseUint(to, 10, 16)
		if err != nil || high < low {
			return nil, fmt.Errorf("%q is not a kind or a range of kinds", word)
		}
		if high-low > 10_000 {
			return nil, fmt.Errorf("%q names more than 10,000 kinds", word)
		}
		for k := low; k <= high; k++ {
			kinds = append(kinds, int(k))
		}
	}
	return kinds, nil
}
