package spam

import "slices"

// link reads a URL from its host on.
func (t *text) link(host int) int {
	s, end := t.runes, host
	for end < len(s) && s[end] >= 0x21 && s[end] <= 0x7E && s[end] != '"' && s[end] != '<' && s[end] != '>' && s[end] != '`' {
		end++
	}
	stop, h := host, uint32(0)
	t.put(symLink)
	for ; stop < end && s[stop] != '/' && s[stop] != '?' && s[stop] != '#'; stop++ {
		r := lower(s[stop])
		h = step(h, r)
		if r >= '0' && r <= '9' {
			r = '0'
		}
		t.put(r)
	}
	t.n.links++
	t.site(h)
	sym := rune(symPath)
	if stop < end-1 {
		if t.picture(stop, end) {
			t.n.media++
			sym = symMedia
		}
		t.put(sym)
	}
	if sym == symPath {
		t.lead(h)
	}
	t.put(' ')
	return end
}

// lead books a site that a link leads to. Where pictures lie says nothing: the
// same few sites keep everybody's.
func (t *text) lead(h uint32) {
	if !slices.Contains(t.leads, h) && len(t.leads) < mostSites {
		t.leads = append(t.leads, h)
	}
}

func (t *text) site(h uint32) {
	for _, known := range t.sites {
		if known == h {
			return
		}
	}
	if len(t.sites) < mostSites {
		t.sites = append(t.sites, h)
	}
}

// picture says whether the path in a..b, without its query, ends like a
// picture, film or sound.
func (t *text) picture(a, b int) bool {
	q := a
	for q < b && t.runes[q] != '?' && t.runes[q] != '#' {
		q++
	}
	for _, ext := range mediaEnds {
		if k := q - len(ext) - 1; k >= a && t.runes[k] == '.' && t.starts(k+1, ext) {
			return true
		}
	}
	return false
}
