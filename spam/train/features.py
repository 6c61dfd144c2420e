"""What tier 0 sees of a text: symbols, hashed n-grams, structure.

spam/text.go and spam/grams.go do the same; testdata/parity.jsonl.zst holds both to it bit
for bit. All numbers are integers or single IEEE operations, so nothing can
drift between the two.
"""

import codecs

import numpy as np

from letters import (
    BLOB, CYRILLIC, GREEK, HAN, INVOICE, KANA, LATIN, MEDIA, MENTION, NONE, PATH, URL,
    combining, emoji, fold, invisible, joiner, lower, script, seen_as, space,
)
from unmask import together, undigit

VERSION = 3
BITS = 18  # the table has 1 << BITS rows
HEAD_BYTES, TAIL_BYTES = 3072, 1024  # of a longer text only its two ends are read

codecs.register_error("eachbyte", lambda e: ("\ufffd" * (e.end - e.start), e.end))

STRUCTURE = [
    "length", "words", "links", "media links", "distinct sites", "mentions", "invoices", "long codes",
    "hashtags", "cashtags", "digits", "capitals", "punctuation", "exclamation marks", "question marks",
    "emoji", "line breaks", "invisible characters", "combining marks", "look-alike letters",
    "words of mixed script", "longest repeat", "repetition", "words per link", "only a link",
    "bare domains", "money signs", "long words", "no words", "two scripts",
]


def ends(raw):
    """The part of raw that is read, cut between characters."""
    if len(raw) <= HEAD_BYTES + TAIL_BYTES:
        return raw
    a, b = HEAD_BYTES, len(raw) - TAIL_BYTES
    while a > HEAD_BYTES - 3 and raw[a] & 0xC0 == 0x80:
        a -= 1
    while b < len(raw) - TAIL_BYTES + 3 and raw[b] & 0xC0 == 0x80:
        b += 1
    return raw[:a] + raw[b:]


def alnum(r):
    return 48 <= r <= 57 or 65 <= r <= 90 or 97 <= r <= 122


MEDIA_ENDS = ("jpg", "jpeg", "png", "gif", "webp", "mp4", "mov", "webm", "mp3", "svg")
ENTITIES = ("npub1", "note1", "nevent1", "nprofile1", "naddr1", "nsec1")
INVOICES = ("lnbc", "lnurl", "lntb", "cashua", "cashub")


class Text:
    """The symbols of one text and what was counted on the way."""

    def __init__(self, raw):
        if isinstance(raw, str):
            raw = raw.encode("utf-8", "surrogatepass")
        self.s = [ord(c) for c in ends(raw).decode("utf-8", "eachbyte")]
        self.out = [32]
        self.n = dict.fromkeys(
            "links media mentions invoices blobs hashtags cashtags digits capitals punct bang quest emoji "
            "lines invisible marks fancy repeat bare money letters".split(), 0)
        self.sites = []
        self.run = 0
        self.read()
        self.out = undigit(together(self.out))
        if self.out[-1] != 32:
            self.out.append(32)
        self.words()

    def put(self, r):
        if self.out[-1] == r:
            self.run += 1
            self.n["repeat"] = max(self.n["repeat"], self.run)
            if r == 32 and self.run >= 2 or self.run >= 3:  # two spaces may part words of letters set apart
                return
        else:
            self.run = 0
        self.out.append(r)

    def starts(self, i, word):
        s = self.s
        if i + len(word) > len(s):
            return False
        return all(s[i + k] < 0x80 and lower(s[i + k]) == ord(w) for k, w in enumerate(word))

    def alnums(self, i):
        """Where the run of ASCII letters and digits that begins at i ends."""
        s = self.s
        while i < len(s) and alnum(s[i]):
            i += 1
        return i

    def link(self, i, host):
        """A URL whose host begins at host: its site stays, its path becomes one symbol."""
        s, n = self.s, self.n
        end = host
        while end < len(s) and 0x21 <= s[end] <= 0x7E and s[end] not in (34, 60, 62, 96):
            end += 1
        stop = host
        while stop < end and s[stop] not in (47, 63, 35):
            stop += 1
        h = 0
        self.put(URL)
        for k in range(host, stop):
            r = lower(s[k])
            h = ((h ^ r) * 16777619) & 0xFFFFFFFF
            self.put(48 if 48 <= r <= 57 else r)
        n["links"] += 1
        if h not in self.sites and len(self.sites) < 16:
            self.sites.append(h)
        if stop < end - 1:
            media = any(self.media(stop, end, e) for e in MEDIA_ENDS)
            n["media"] += media
            self.put(MEDIA if media else PATH)
        self.put(32)
        return end

    def media(self, a, b, ext):
        """The path in a..b ends in .ext, before any query."""
        q = a
        while q < b and self.s[q] not in (63, 35):
            q += 1
        k = q - len(ext) - 1
        return k >= a and self.s[k] == 46 and self.starts(k + 1, ext)

    def special(self, i):
        """A link, mention, invoice or code that begins at i: where it ends, or i."""
        s, n = self.s, self.n
        for scheme in ("https://", "http://", "www."):
            if self.starts(i, scheme):
                return self.link(i, i + len(scheme))
        end = self.alnums(i)
        if end - i >= 20:
            kind, count = BLOB, "blobs"
            if any(self.starts(i, e) for e in ENTITIES):
                kind, count = MENTION, "mentions"
            elif any(self.starts(i, e) for e in INVOICES):
                kind, count = INVOICE, "invoices"
            elif not self.coded(i, end):
                return i
            n[count] += 1
            self.put(kind)
            return end
        if end - i >= 2 and end + 2 < len(s) and s[end] == 46:
            return self.link(i, i) if self.bare_rest(end) else i
        return i

    def coded(self, i, end):
        """A long run is a code when it has digits in it, or is very long."""
        if end - i >= 60:
            return True
        return sum(48 <= r <= 57 for r in self.s[i:end]) >= 3

    def bare_rest(self, dot):
        """A domain without scheme: after the dot 2 to 6 letters that end a word or begin a path."""
        s = self.s
        e = dot + 1
        while e < len(s) and (97 <= s[e] <= 122):
            e += 1
        if not 2 <= e - dot - 1 <= 6:
            return False
        if e < len(s) and s[e] == 47:
            self.n["bare"] += 1
            return True
        if e < len(s) and not space(s[e]):
            return False
        if not any(self.starts(dot + 1, t) and e - dot - 1 == len(t) for t in ("com", "net", "org", "io", "top", "xyz", "me", "vip", "cc", "ru", "cn", "app", "co", "gg", "ly", "shop", "site", "online", "club", "info", "live", "link")):
            return False
        self.n["bare"] += 1
        return True

    def read(self):
        s, n = self.s, self.n
        i, fresh, digits = 0, True, 0  # fresh: a word may begin here
        while i < len(s):
            r = s[i]
            if fresh and alnum(r):
                end = self.special(i)
                if end > i:
                    i, digits = end, 0
                    continue
            if r == 35 and i + 2 < len(s) and s[i + 1] == 91 and 48 <= s[i + 2] <= 57:  # #[0]
                e = i + 2
                while e < len(s) and 48 <= s[e] <= 57:
                    e += 1
                if e < len(s) and s[e] == 93:
                    n["mentions"] += 1
                    self.put(MENTION)
                    i, fresh, digits = e + 1, True, 0
                    continue
            i += 1
            if invisible(r):
                n["invisible"] += 1
                continue
            if joiner(r):
                continue
            if combining(r):
                n["marks"] += 1
                continue
            f = fold(r)
            if f:
                if r < 0xFF00 or r > 0xFFFF or alnum(f):
                    n["fancy"] += 1
                r = f
            if space(r):
                n["lines"] += r == 10
                self.put(32)
                fresh, digits = True, 0
                continue
            if 48 <= r <= 57:
                n["digits"] += 1
                digits += 1
                if digits <= 4:
                    self.out.append(r)
                    self.run = 0
                fresh = False
                continue
            digits = 0
            if r == 35 and i < len(s) and script(s[i]) != NONE:
                n["hashtags"] += 1
            elif r == 36 and i < len(s) and script(s[i]) == LATIN:
                n["cashtags"] += 1
            low = lower(r)
            n["capitals"] += low != r
            sc = script(low)
            n["letters"] += sc != NONE
            n["bang"] += r == 33
            n["quest"] += r == 63
            n["money"] += r in (36, 0xA3, 0xA5, 0x20AC, 0x20BF, 0x20BD, 0x20B9)
            e = emoji(r)
            n["emoji"] += e
            n["punct"] += 33 <= r <= 47 or 58 <= r <= 64 or 91 <= r <= 96 or 123 <= r <= 126 or 0x3001 <= r <= 0x3011
            fresh = sc == NONE or sc >= KANA
            self.put(low)

    def words(self):
        """Hashes of the words: letters that stand together; every Han or Kana letter, symbol and emoji by itself."""
        out, hashes = self.out, []
        per = [0] * 11
        h, first, mixed, length, long, mix = 0, NONE, False, 0, 0, 0

        def close():
            nonlocal h, first, mixed, length, long, mix
            if length:
                hashes.append(finish(h))
                long += length >= 13
                mix += mixed
            h, first, mixed, length = 0x9747B28C, NONE, False, 0

        close()
        for i, r in enumerate(out):
            sc = script(r)
            per[sc] += 1
            r = out[i] = seen_as(r)
            if r >= 0x2190 and sc in (NONE, KANA, HAN):
                close()
                h = step(h, r)
                length = 1
                close()
                continue
            if sc == NONE and r != 48:
                close()
                continue
            h = step(h, r)
            length += 1
            if sc != NONE and first == NONE:
                first = sc
            elif sc != NONE and sc != first and {sc, first} <= {LATIN, GREEK, CYRILLIC}:
                mixed = True
        close()
        self.word = hashes
        self.long, self.mixed = long, mix
        per[NONE] = 0
        self.per = per
        top = max(range(11), key=lambda k: (per[k], -k))
        self.script = top if per[top] else NONE

    def grams(self):
        """Rows of the table, without repeats and sorted."""
        o = np.array(self.out, dtype=np.uint32)
        parts = []
        with np.errstate(over="ignore"):
            for n in (3, 4, 5):
                m = len(o) - n + 1
                if m <= 0:
                    break
                h = np.full(m, n * 0x9E3779B1 & 0xFFFFFFFF, dtype=np.uint32)
                for k in range(n):
                    h = (h ^ o[k : k + m]) * np.uint32(16777619)
                parts.append(vfinish(h))
            w = np.array(self.word, dtype=np.uint32)
            parts.append(vfinish(w ^ np.uint32(0x85EBCA6B)))
            if len(w) > 1:
                parts.append(vfinish(w[:-1] * np.uint32(31) + w[1:]))
        return np.unique(np.concatenate(parts) >> np.uint32(32 - BITS))

    def structure(self, distinct):
        """The float32 row named by STRUCTURE; distinct is len(grams())."""
        n, words, symbols = self.n, len(self.word), len(self.out) - 1
        total = 3 * symbols + 2 * words
        scripts = sum(1 for k in self.per if 8 * k > max(1, n["letters"]))
        only = n["links"] > 0 and words <= 12 and n["links"] * 10 >= words
        return np.array([
            sat(symbols, 200), sat(words, 40), sat(n["links"], 2), sat(n["media"], 2), sat(len(self.sites), 2),
            sat(n["mentions"], 2), sat(n["invoices"], 1), sat(n["blobs"], 2), sat(n["hashtags"], 3), sat(n["cashtags"], 2),
            part(n["digits"], 2 * symbols), part(n["capitals"], n["letters"]), part(n["punct"], symbols), sat(n["bang"], 2),
            sat(n["quest"], 2), sat(n["emoji"], 3), sat(n["lines"], 4), sat(n["invisible"], 2), sat(n["marks"], 4),
            sat(n["fancy"], 4), sat(self.mixed, 1), sat(n["repeat"], 8), part(distinct, total), part(words, words + 8 * n["links"]),
            float(only), sat(n["bare"], 1), sat(n["money"], 2), part(self.long, words), float(words == 0), float(scripts > 1),
        ], dtype=np.float32)


def sat(x, half):
    """x of anything as a share of 1, reaching a half at half."""
    return np.float32(x) / np.float32(x + half)


def part(x, of):
    return np.float32(min(x, of)) / np.float32(max(of, 1))


def step(h, r):
    return ((h ^ r) * 16777619) & 0xFFFFFFFF


def finish(h):
    """murmur3's finaliser: every bit of h moves every bit of the result."""
    h ^= h >> 16
    h = (h * 0x85EBCA6B) & 0xFFFFFFFF
    h ^= h >> 13
    h = (h * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ (h >> 16)


def vfinish(h):
    h = h ^ (h >> np.uint32(16))
    h = h * np.uint32(0x85EBCA6B)
    h = h ^ (h >> np.uint32(13))
    h = h * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def look(raw):
    """grams, structure and script of a text."""
    t = Text(raw)
    g = t.grams()
    return g, t.structure(len(g)), t.script
