"""Writes tier 0's head as ONNX and holds it to the Go code's figures.

    python spam/train/export.py spam/tier0.onnx

Inputs: rows int64[N,T], the rows of the table that a text's n-grams point at,
each once, padded with 1 << 18; structure float32[N,30], as features.py makes it.
Outputs: scores float32[N], the probability of spam; probabilities float32[N,3].
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
PAD = 1 << f.BITS


def read(path):
    raw = path.read_bytes()
    at = len(write.MAGIC)
    size = struct.unpack_from("<I", raw, at)[0]
    header = json.loads(raw[at + 4 : at + 4 + size])
    table = np.frombuffer(raw[at + 4 + size : -4], dtype=np.int8).reshape(-1, 4)[:, :3]
    return header, np.vstack([table, np.zeros((1, 3), dtype=np.int8)])


def graph(header, table):
    h = header["heads"]
    const = {
        "table": table,
        "pad": np.array(PAD, dtype=np.int64),
        "floor": np.array(32, dtype=np.float32),
        "axis": np.array([1], dtype=np.int64),
        "scale": np.array([e["scale"] for e in h], dtype=np.float32),
        "weights": np.array([e["weights"] for e in h], dtype=np.float32).T.copy(),
        "bias": np.array([e["bias"] for e in h], dtype=np.float32),
        "slope": np.array([e["slope"] for e in h], dtype=np.float32),
        "shift": np.array([e["shift"] for e in h], dtype=np.float32),
        "first": np.array(0, dtype=np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "rows"], ["met8"]),
        node("Cast", ["met8"], ["met"], to=TensorProto.FLOAT),
        node("ReduceSum", ["met", "axis"], ["sum"], keepdims=0),
        node("Less", ["rows", "pad"], ["there"]),
        node("Cast", ["there"], ["ones"], to=TensorProto.FLOAT),
        node("ReduceSum", ["ones", "axis"], ["count"], keepdims=1),
        node("Max", ["count", "floor"], ["long"]),
        node("Sqrt", ["long"], ["length"]),
        node("Mul", ["sum", "scale"], ["scaled"]),
        node("Div", ["scaled", "length"], ["words"]),
        node("MatMul", ["structure", "weights"], ["shape"]),
        node("Add", ["words", "shape"], ["both"]),
        node("Add", ["both", "bias"], ["raw"]),
        node("Mul", ["raw", "slope"], ["sloped"]),
        node("Add", ["sloped", "shift"], ["logits"]),
        node("Sigmoid", ["logits"], ["probabilities"]),
        node("Gather", ["probabilities", "first"], ["scores"], axis=1),
    ]
    info = helper.make_tensor_value_info
    g = helper.make_graph(
        nodes, "agora-spam-tier0",
        [info("rows", TensorProto.INT64, ["N", "T"]), info("structure", TensorProto.FLOAT, ["N", len(f.STRUCTURE)])],
        [info("scores", TensorProto.FLOAT, ["N"]), info("probabilities", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(v, k) for k, v in const.items()],
    )
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], producer_name="agora")
    m.ir_version = 8
    onnx.checker.check_model(m, full_check=True)
    return m


def main():
    header, table = read(ROOT / "text.model")
    m = graph(header, table)
    Path(sys.argv[1]).write_bytes(m.SerializeToString())
    run, worst = ReferenceEvaluator(m), 0.0
    for line in data.read(ROOT / "testdata" / "parity.jsonl.zst").splitlines():
        want = json.loads(line)
        g, s, _ = f.look(base64.b64decode(want["raw"]))
        rows = np.concatenate([g.astype(np.int64), np.full(3, PAD)])[None]
        _, got = run.run(None, {"rows": rows, "structure": s[None]})
        worst = max(worst, float(np.abs(got[0] - 1 / (1 + np.exp(-np.array(want["logits"])))).max()))
    print(f"{sys.argv[1]}: at most {worst:.1e} away from the Go code")
    if worst > 1e-5:
        raise SystemExit("more than 1e-5")


if __name__ == "__main__":
    main()
