"""Writes the model and the files that hold the Go code to the Python code."""

import base64
import json
import struct
import subprocess
import zlib

import numpy as np

import features as f
from letters import SCRIPTS

MAGIC = b"AGSPAM1\n"


def model(path, heads, cuts, report):
    """MAGIC, length of the header, header in JSON, rows of 4 int8 (spam, scam, ai, 0), CRC-32 of all before."""
    header = {
        "version": f.VERSION, "bits": f.BITS, "structure": f.STRUCTURE, "cuts": cuts, "report": report,
        "heads": [
            {"name": name, "scale": scale, "weights": list(map(float, structure)), "bias": bias, "slope": a, "shift": b}
            for name, (_, scale, structure, bias, a, b) in heads.items()
        ],
    }
    text = json.dumps(header, default=float, separators=(",", ":")).encode()
    table = np.zeros((1 << f.BITS, 4), dtype=np.int8)
    for k, head in enumerate(heads.values()):
        table[:, k] = head[0]
    body = MAGIC + struct.pack("<I", len(text)) + text + table.tobytes()
    path.write_bytes(body + struct.pack("<I", zlib.crc32(body)))


def logits(text, heads):
    """As the Go code computes them: integers first, then one float64 operation after the other."""
    g, s, script = f.look(text)
    out = []
    for table, scale, structure, bias, a, b in heads.values():
        v = float(scale) * float(int(table[g].astype(np.int64).sum())) / float(np.sqrt(np.float64(max(len(g), 32))))
        for w, x in zip(structure, s):
            v = v + float(w) * float(x)
        v = v + float(bias)
        out.append(float(a) * v + float(b))
    return g, s, script, out


HOSTILE = [
    b"", b" ", b"a", b"a" * 5000, "\u0301".encode() * 3000, b"\xff\xfe\x80" * 900, b"\xe4\xbd" * 3, b"ok \xf0\x9f\x98 end",
    "\u200b".encode() * 100 + b"free", "𝟏𝟎𝟎+ 𝐀𝐈 𝐓𝐨𝐨𝐥𝐬".encode(), "Раypal ｆｒｅｅ ⓕⓡⓔⓔ".encode(), b"http://", b"https://x", b"www.",
    b"t.me/abc", b"see example.com", b"https://a.b/c.JPG?x=1 https://A.B/d", b"lnbc50u1p3auvc2pp598kxtf5j8r5pu27rmx34wnqxzus2dyq",
    b"npub14d3t2fzu6w02ncyjys0sl3rmst7ef7k9y32833kg64z5hzu70f2qt008xn #[0] #[x] #tag $BTC $5", "赠送给您1π！".encode() * 400,
    "GM ☕️ 👩‍👩‍👧 🙋🏼‍♂️".encode(), b"1 22 333 4444 55555 666666", "ÀÉÎÕÜ ŁŽŹŸ ΑΒΓ ЁЖ İı".encode(),
    b"f r e e  b t c  n o w", b"F.R.E.E b-o-n-u-s c|l|a|i|m a.b", "f🔥r🔥e🔥e 赠 送 给 您 나 는 이 것".encode(),
    b"fr33 b0nus wa11et 3arn 4irdrop web3 19k covid19 2fa 21m a1b2c3 0x00ff 1abc 11abc ab11 ab2 ab1111 1a2b",
    b"f r 3 3 c 0 i n s 1 2 3 4 a 1 b 2", b"a b c", b"a b c d", b"a ", b"a b", b" a b c d ", b"a b c d.e.f.g ebook",
    b"x " * 2500, b"x. " * 1500, b"x  " * 1500, b"t.m.e/a.b.c f.r.e.com/x.y.z a b c https://a.b.c.d1/x1 e f g h",
    "f\u0301 r\u200b e  e 1\u200b0\u200b1ab 𝟑𝟑ab fr𝟑𝟑".encode(),
    b"A" * 3071 + "é".encode() + b"B" * 3000,
]


def parity(path, rows, heads, tier1):
    import scipy.sparse as sp

    import second
    lines = []
    for raw in HOSTILE + [r["text"].encode("utf-8", "surrogatepass") for r in rows[::37]]:
        g, s, script, out = logits(raw, heads)
        x = sp.csr_matrix((np.ones(len(g)), g, [0, len(g)]), shape=(1, 1 << f.BITS))
        vector = second.vectors(x, tier1["table"], tier1["scale"])
        odds = tier1["trees"].decision_function(np.hstack([s[None].astype(np.float32), vector]))[0]
        lines.append(json.dumps({
            "vector": [float(v) for v in vector[0]], "second": tier1["slope"] * odds + tier1["shift"],
            "raw": base64.b64encode(raw).decode(), "rows": len(g), "crc": zlib.crc32(g.astype("<u4").tobytes()),
            "structure": [float(v) for v in s], "script": SCRIPTS[script], "logits": out,
        }))
    compress(path, "\n".join(lines) + "\n")


def stream(path, rows, at, p, y, groups, second):
    """The notes of the simulated stream, with text scores from models that never saw their campaign; second where
    tier 1 is asked."""
    def line(i, q, v, g, o):
        row = {"text": rows[i]["text"], "spam": int(v), "campaign": g, "logit": round(float(q), 4)}
        if not np.isnan(o):
            row["second"] = round(float(o), 4)
        return json.dumps(row, ensure_ascii=False) + "\n"

    compress(path, "".join(map(line, at, p, y, groups, second)))


def compress(path, text):
    path.write_bytes(subprocess.run(["zstd", "-19", "-c"], input=text.encode(), check=True, capture_output=True).stdout)
