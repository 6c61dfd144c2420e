"""Writes tier 0's head as ONNX and holds it to the Go code's figures.

    python spam/train/export.py spam/tier0.onnx

Inputs: spam.words float32[N,3], for spam, scam and ai the weights of a text's n-grams added up, by scale and length;
spam.structure float32[N,30], as features.py makes it. Output: scores float32[N], the probability of spam.
testdata/parity.jsonl.zst, which the Go code meets bit for bit, is met to 1e-5.
"""

import base64
import json
import struct
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

sys.path.insert(0, str(Path(__file__).parent))
import data
import features as f
import write

ROOT = Path(__file__).resolve().parents[1]


def read(path):
    raw = path.read_bytes()
    at = len(write.MAGIC)
    size = struct.unpack_from("<I", raw, at)[0]
    header = json.loads(raw[at + 4 : at + 4 + size])
    return header, np.frombuffer(raw[at + 4 + size : -4], dtype=np.int8).reshape(-1, 4)[:, :3]


def graph(header):
    h = header["heads"][0]
    const = {
        "column": np.array([0], dtype=np.int64),
        "axis": np.array([1], dtype=np.int64),
        "weights": np.array(h["weights"], dtype=np.float32)[:, None],
        "bias": np.array(h["bias"], dtype=np.float32),
        "slope": np.array(h["slope"], dtype=np.float32),
        "shift": np.array(h["shift"], dtype=np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["spam.words", "column"], ["words"], axis=1),
        node("MatMul", ["spam.structure", "weights"], ["shape"]),
        node("Add", ["words", "shape"], ["both"]),
        node("Squeeze", ["both", "axis"], ["flat"]),
        node("Add", ["flat", "bias"], ["raw"]),
        node("Mul", ["raw", "slope"], ["sloped"]),
        node("Add", ["sloped", "shift"], ["logits"]),
        node("Sigmoid", ["logits"], ["scores"]),
    ]
    info = helper.make_tensor_value_info
    g = helper.make_graph(
        nodes, "agora-spam-tier0",
        [info("spam.words", TensorProto.FLOAT, ["N", 3]), info("spam.structure", TensorProto.FLOAT, ["N", len(f.STRUCTURE)])],
        [info("scores", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(v, k) for k, v in const.items()],
    )
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], producer_name="agora")
    m.ir_version = 8
    onnx.checker.check_model(m, full_check=True)
    return m


def main():
    header, table = read(ROOT / "text.model")
    m = graph(header)
    Path(sys.argv[1]).write_bytes(m.SerializeToString())
    run, worst = ReferenceEvaluator(m), 0.0
    scale = np.array([h["scale"] for h in header["heads"]])
    for line in data.read(ROOT / "testdata" / "parity.jsonl.zst").splitlines():
        want = json.loads(line)
        g, s, _ = f.look(base64.b64decode(want["raw"]))
        words = scale * table[g].astype(np.int64).sum(axis=0) / np.sqrt(max(len(g), 32))
        (got,) = run.run(None, {"spam.words": words[None].astype(np.float32), "spam.structure": s[None]})
        worst = max(worst, abs(float(got[0]) - 1 / (1 + np.exp(-want["logits"][0]))))
    print(f"{sys.argv[1]}: at most {worst:.1e} away from the Go code")
    if worst > 1e-5:
        raise SystemExit("more than 1e-5")


if __name__ == "__main__":
    main()
