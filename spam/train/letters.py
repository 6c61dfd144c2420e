"""Letters and their kinds: case, script, look-alikes, what is not seen. spam/letters.go does the same."""

# Stand for a link, its path, a picture, a mention, an invoice, a long code, of the private use area.
URL, PATH, MEDIA, MENTION, INVOICE, BLOB = range(0xE000, 0xE006)


def lower(r):
    """Lower case by a table of our own: Unicode's changes from version to version."""
    if 65 <= r <= 90:
        return r + 32
    if r < 0xC0:
        return r
    if 0xC0 <= r <= 0xDE and r != 0xD7:
        return r + 32
    if 0x100 <= r <= 0x137 or 0x14A <= r <= 0x177:
        return r | 1
    if 0x139 <= r <= 0x148 or 0x179 <= r <= 0x17E:
        return r + (r & 1)
    if 0x391 <= r <= 0x3A9 or 0x410 <= r <= 0x42F:
        return r + 32
    if 0x400 <= r <= 0x40F:
        return r + 80
    return r


NONE, LATIN, GREEK, CYRILLIC, ARABIC, INDIC, THAI, KANA, HANGUL, HAN, OTHER = range(11)
SCRIPTS = ["none", "Latin", "Greek", "Cyrillic", "Arabic", "Indic", "Thai", "Kana", "Hangul", "Han", "other"]


def script(r):
    """The script of a lower-case letter; NONE for what is no letter."""
    if r < 0x80:
        return LATIN if 97 <= r <= 122 or 65 <= r <= 90 else NONE
    if r < 0x370:
        return LATIN if 0xC0 <= r <= 0x24F and r not in (0xD7, 0xF7) else NONE
    if r < 0x400:
        return GREEK
    if r < 0x530:
        return CYRILLIC
    if 0x590 <= r < 0x900:
        return ARABIC  # and Hebrew
    if 0x900 <= r < 0xE00:
        return INDIC
    if 0xE00 <= r < 0xE80:
        return THAI
    if 0x3040 <= r <= 0x30FF:
        return KANA
    if 0x3400 <= r <= 0x9FFF or 0xF900 <= r <= 0xFAFF or 0x20000 <= r <= 0x323AF:
        return HAN
    if 0xAC00 <= r <= 0xD7AF or 0x1100 <= r <= 0x11FF:
        return HANGUL
    if 0x530 <= r < 0x590 or 0xE80 <= r < 0x2000:
        return OTHER
    return NONE


def space(r):
    return r in (32, 9, 10, 11, 12, 13, 0x85, 0xA0, 0x3000, 0x2028, 0x2029) or 0x2000 <= r <= 0x200A


def invisible(r):
    return (
        r in (0x200B, 0x200C, 0x200E, 0x200F, 0xFEFF, 0xAD, 0x180E, 0x115F, 0x3164)
        or 0x2060 <= r <= 0x2064
        or 0x202A <= r <= 0x202E
        or 0x2066 <= r <= 0x2069
        or 0xE0020 <= r <= 0xE007F
    )


def joiner(r):  # parts of one emoji
    return r == 0x200D or 0xFE00 <= r <= 0xFE0F or 0x1F3FB <= r <= 0x1F3FF


def combining(r):
    return 0x300 <= r <= 0x36F or 0x1AB0 <= r <= 0x1AFF or 0x20D0 <= r <= 0x20FF or 0x483 <= r <= 0x489


def emoji(r):
    return 0x2190 <= r <= 0x2BFF or 0x1F000 <= r <= 0x1FAFF


def fold(r):
    """Look-alikes made of other blocks, back to ASCII; 0 when r is none."""
    if 0xFF01 <= r <= 0xFF5E:
        return r - 0xFEE0
    if 0x1D7CE <= r <= 0x1D7FF:
        return 48 + (r - 0x1D7CE) % 10
    if 0x1D400 <= r <= 0x1D6A3:
        i = (r - 0x1D400) % 52
        return 65 + i if i < 26 else 97 + i - 26
    if 0x24B6 <= r <= 0x24CF:
        return r - 0x24B6 + 65
    if 0x24D0 <= r <= 0x24E9:
        return r - 0x24D0 + 97
    if 0x1F130 <= r <= 0x1F149:
        return r - 0x1F130 + 65
    return 0


# Letters of other alphabets that look like a Latin one: which is meant is not
# seen, so they count as one.
SEEN_AS = dict(zip(
    map(ord, "ıɑɡαβγεηικνορτυχωавгекмнорстухѕіјһԁԛԝ"),
    map(ord, "iagabyenikvoptuxwabrekmhopctyxsijhdqw")))


def seen_as(r):
    """The letter that a lower-case one counts as."""
    return SEEN_AS.get(r, r)
