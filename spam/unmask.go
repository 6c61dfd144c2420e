package spam

// What hides a word from who compares letters hides it from no reader: letters
// set apart ("f r e e"), and digits in their place ("fr33"). Both are put right
// before words and n-grams are read; train/unmask.py does the same.

// As many letters set apart by spaces, or by the same other sign each time, are
// words; fewer are an abbreviation, a list.
const (
	leastSpaced = 4
	leastDotted = 3
)

// lookLike is the letter that each digit looks like, - for none.
const lookLike = "oi-eas-tb-"

// unmask puts the symbols right, in place.
func (t *text) unmask() {
	t.out = together(t.out)
	undigit(t.out)
}

// together joins letters that stand apart by the same sign, and makes one space
// of two.
func together(s []rune) []rune {
	to := s[:0]
	for i := 0; i < len(s); {
		if s[i] == symLink {
			end := linkEnd(s, i)
			to, i = append(to, s[i:end]...), end
			continue
		}
		a := apart(s, i)
		if a.words(s[i:]) {
			to, i = joined(to, s[i:a.end]), a.end
			continue
		}
		for ; i <= a.last; i++ {
			if s[i] != ' ' || len(to) == 0 || to[len(to)-1] != ' ' {
				to = append(to, s[i])
			}
		}
	}
	return to
}

// spread is a run of letters and digits that stand apart.
type spread struct {
	end    int // where it ends
	last   int // the last but one of them, or where the run begins: what stands up to here is in no other run
	all    int
	digits int
}

// words says that the letters are meant to be read together.
func (a spread) words(s []rune) bool {
	least := leastDotted
	if len(s) > 1 && s[1] == ' ' {
		least = leastSpaced
	}
	return a.all-a.digits >= least && 2*a.digits <= a.all
}

// apart finds the run that begins at i. Where the sign between is a space, two
// of them part words.
func apart(s []rune, i int) spread {
	a := spread{end: i + 1, last: i}
	if i > 0 && inWord(s[i-1]) || !alone(s, i) || i+1 >= len(s) || s[i+1] >= symLink && s[i+1] <= symBlob {
		return a
	}
	sign, at := s[i+1], i
	a.all, a.digits = 1, one(digit(s[i]))
	for at+2 < len(s) && s[at+1] == sign {
		next := at + 2
		if sign == ' ' && s[next] == ' ' {
			next++
		}
		if next >= len(s) || !alone(s, next) {
			break
		}
		a.last, at = at, next
		a.all, a.digits = a.all+1, a.digits+one(digit(s[at]))
	}
	a.end = at + 1
	return a
}

// joined appends every second symbol, and a space where there are two.
func joined(to, run []rune) []rune {
	for i := 0; i < len(run); i += 2 {
		if run[i] == ' ' {
			to = append(to, ' ')
			i++
		}
		to = append(to, run[i])
	}
	return to
}

// alone says that a letter or digit has none after it. Korean has words of one.
func alone(s []rune, i int) bool {
	return inWord(s[i]) && scriptOf(s[i]) != hangul && (i+1 >= len(s) || !inWord(s[i+1]))
}

func inWord(r rune) bool { return digit(r) || scriptOf(r) != none }

func digit(r rune) bool { return r >= '0' && r <= '9' }

// linkEnd is where the site of a link ends, which is left as it is.
func linkEnd(s []rune, i int) int {
	for i < len(s) && s[i] != ' ' {
		i++
	}
	return i
}

// undigit makes letters of digits that stand for some, and zeros of all others.
func undigit(s []rune) {
	for i := 0; i < len(s); {
		if s[i] == symLink {
			i = linkEnd(s, i)
			continue
		}
		end, digits := i, 0
		for end < len(s) && (digit(s[end]) || alphabetic(s[end])) {
			digits += one(digit(s[end]))
			end++
		}
		if digits > 0 {
			letters := end - i - digits
			spell(s[i:end], letters >= 2 && letters >= digits && end-i >= 4)
		}
		i = max(end, i+1)
	}
}

func alphabetic(r rune) bool {
	sc := scriptOf(r)
	return sc >= latin && sc <= cyrillic
}

// spell goes over the digits of one word. One or two together may stand for
// letters, at its beginning one before three letters.
func spell(w []rune, may bool) {
	for i := 0; i < len(w); i++ {
		end := i
		for end < len(w) && digit(w[end]) {
			end++
		}
		n := end - i
		can := may && n <= 2 && (i > 0 || n == 1 && !digit(w[1]) && !digit(w[2]) && !digit(w[3]))
		for _, r := range w[i:end] {
			can = can && lookLike[r-'0'] != '-'
		}
		twice := n == 2 && w[i] == '1' && w[i+1] == '1' // ll
		for k := i; k < end; k++ {
			switch {
			case !can:
				w[k] = '0'
			case twice:
				w[k] = 'l'
			default:
				w[k] = rune(lookLike[w[k]-'0'])
			}
		}
		i = end
	}
}
