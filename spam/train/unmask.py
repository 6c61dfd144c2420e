"""Letters set apart and digits in the place of letters, put right. spam/unmask.go does the same."""

from letters import BLOB, CYRILLIC, HANGUL, LATIN, NONE, URL, script

# What hides a word from who compares letters hides it from no reader: letters set apart ("f r e e"), and digits in
# their place ("fr33"). spam/unmask.go does the same.
LEAST_SPACED, LEAST_DOTTED = 4, 3
LOOK_LIKE = dict(zip(b"0134578", b"oieastb"))


def digit(r):
    return 48 <= r <= 57


def in_word(r):
    return digit(r) or script(r) != NONE


def alone(s, i):
    """A letter or digit that has none after it. Korean has words of one."""
    return in_word(s[i]) and script(s[i]) != HANGUL and (i + 1 >= len(s) or not in_word(s[i + 1]))


def link_end(s, i):
    while i < len(s) and s[i] != 32:
        i += 1
    return i


def apart(s, i):
    """The places of letters and digits that stand apart by the same sign, from i on."""
    if i > 0 and in_word(s[i - 1]) or not alone(s, i) or i + 1 >= len(s) or URL <= s[i + 1] <= BLOB:
        return []
    sign, at = s[i + 1], [i]
    while at[-1] + 2 < len(s) and s[at[-1] + 1] == sign:
        k = at[-1] + 2
        if sign == 32 and s[k] == 32:
            k += 1
        if k >= len(s) or not alone(s, k):
            break
        at.append(k)
    return at


def together(s):
    """Joins letters that stand apart by the same sign, and makes one space of two."""
    out, i = [], 0
    while i < len(s):
        if s[i] == URL:
            end = link_end(s, i)
            out += s[i:end]
            i = end
            continue
        at = apart(s, i)
        digits = sum(digit(s[k]) for k in at)
        least = LEAST_SPACED if at and s[i + 1] == 32 else LEAST_DOTTED
        if len(at) - digits >= least and 2 * digits <= len(at):
            for a, b in zip([at[0] - 2] + at, at):
                if b - a > 2:
                    out.append(32)
                out.append(s[b])
            i = at[-1] + 1
            continue
        last = at[-2] if len(at) > 1 else i
        for k in range(i, last + 1):
            if s[k] != 32 or not out or out[-1] != 32:
                out.append(s[k])
        i = last + 1
    return out


def undigit(s):
    """Makes letters of digits that stand for some, and zeros of all others."""
    i = 0
    while i < len(s):
        if s[i] == URL:
            i = link_end(s, i)
            continue
        end = i
        while end < len(s) and (digit(s[end]) or LATIN <= script(s[end]) <= CYRILLIC):
            end += 1
        digits = sum(map(digit, s[i:end]))
        if digits:
            letters = end - i - digits
            s[i:end] = spell(s[i:end], letters >= 2 and letters >= digits and end - i >= 4)
        i = max(end, i + 1)
    return s


def spell(w, may):
    """The digits of one word: one or two together may stand for letters, at its beginning one before three letters."""
    out, i = list(w), 0
    while i < len(w):
        end = i
        while end < len(w) and digit(w[end]):
            end += 1
        n = end - i
        can = may and n <= 2 and (i > 0 or n == 1 and not any(map(digit, w[1:4])))
        can = can and all(r in LOOK_LIKE for r in w[i:end])
        for k in range(i, end):
            out[k] = 48 if not can else ord("l") if w[i:end] == [49, 49] else LOOK_LIKE[w[k]]
        i = end + 1
    return out
