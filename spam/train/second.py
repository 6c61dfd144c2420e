"""Tier 1: trees over structure and a dense vector, asked only where tier 0 is unsure.

The vector is a truncated SVD of the hashed n-grams, fitted without labels and
kept as int8. Like tier 0 it is measured out of fold: vector and trees of a
fold saw no text of its campaigns.
"""

import json
import struct
import zlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import features as f

SIZE = 16
GREY = 0.05  # share of the notes nearest to tier 0's threshold
MAGIC = b"AGSPAMV1"


def table_of(x):
    """int8 rows of the SVD and the scale of each column."""
    v = TruncatedSVD(SIZE, random_state=0, n_iter=2).fit(x).components_.T
    scale = np.quantile(np.abs(v), 0.9995, axis=0) / 127
    return np.clip(np.rint(v / scale), -127, 127).astype(np.int8), scale


def vectors(x, table, scale):
    """As the Go code computes them: whole sums, scale, norm, then float32. x has 1/norm in each place."""
    ones = x.copy()
    ones.data = np.ones_like(ones.data)
    norm = np.sqrt(np.maximum(np.diff(x.indptr), 32).astype(np.float64))
    return ((scale * (ones @ table.astype(np.float64))) / norm[:, None]).astype(np.float32)


def trees(a, y, w):
    return HistGradientBoostingClassifier(
        max_iter=90, learning_rate=0.1, max_leaf_nodes=16, min_samples_leaf=20, l2_regularization=5, random_state=0,
        early_stopping=False).fit(a, y, sample_weight=w)


def learn(x, s, y, w, fold, main, tier0, cut, threshold, crossed, tpr_at):
    """Out-of-fold logits of tier 1, its model, and what it does in the grey zone of the rows in main."""
    s = s.astype(np.float32)
    raw = np.zeros(len(y))
    for k in range(fold.max() + 1):
        a, b = fold != k, fold == k
        table, scale = table_of(x[a])
        m = trees(np.hstack([s[a], vectors(x[a], table, scale)]), y[a], w[a])
        raw[b] = m.decision_function(np.hstack([s[b], vectors(x[b], table, scale)]))
    table, scale = table_of(x)
    whole = trees(np.hstack([s, vectors(x, table, scale)]), y, w)

    raw, y, fold = raw[main], y[main], fold[main]
    near = np.abs(tier0 - cut)
    width = float(np.quantile(near, GREY))
    grey = near <= width
    platt = LogisticRegression(C=1).fit(raw[grey][:, None], y[grey])
    slope, shift = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    second = slope * raw + shift + cut  # at even odds within the zone where tier 0 has its threshold
    mixed = np.where(grey, second, tier0)
    flag, before = crossed(mixed, y, fold, 0.01), crossed(tier0, y, fold, 0.01)
    report = {
        "share": float(grey.mean()), "notes": int(grey.sum()), "spam": int(y[grey].sum()),
        "auc_tier0": roc_auc_score(y[grey], tier0[grey]), "auc": roc_auc_score(y[grey], second[grey]),
        "tpr_tier0": tpr_at(tier0, y, 0.01), "tpr": tpr_at(mixed, y, 0.01),
        "crossed_tier0": [float(before[y == 1].mean()), float(before[y == 0].mean())],
        "crossed": [float(flag[y == 1].mean()), float(flag[y == 0].mean())],
    }
    return {
        "table": table, "scale": scale, "trees": whole, "slope": slope, "shift": shift + cut, "report": report,
        "low": cut - width, "high": cut + width, "suspect": threshold(mixed, y, 0.01), "second": np.where(grey, second, np.nan),
    }


def write(path, m):
    """MAGIC, length of the header, header in JSON, SIZE int8 for each row, CRC-32 of all before."""
    header = {
        "size": SIZE, "scales": list(map(float, m["scale"])), "low": m["low"], "high": m["high"], "suspect": m["suspect"],
        "report": m["report"],
    }
    text = json.dumps(header, default=float, separators=(",", ":")).encode()
    body = MAGIC + struct.pack("<I", len(text)) + text + m["table"].tobytes()
    path.write_bytes(body + struct.pack("<I", zlib.crc32(body)))


def below(v):
    """The largest float32 that is not above v: x <= v says the same of a float32 x."""
    r = np.float32(v)
    return float(np.nextafter(r, np.float32(-np.inf)) if float(r) > v else r)


def ensemble(trees):
    """Attributes of TreeEnsembleRegressor for the trees of a HistGradientBoostingClassifier."""
    a = {k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "hitrates", "missing")}
    t = {k: [] for k in ("treeids", "nodeids", "ids", "weights")}
    for i, (tree,) in enumerate(trees._predictors):
        for j, n in enumerate(tree.nodes):
            leaf = bool(n["is_leaf"])
            a["treeids"].append(i)
            a["nodeids"].append(j)
            a["featureids"].append(0 if leaf else int(n["feature_idx"]))
            a["values"].append(0.0 if leaf else below(float(n["num_threshold"])))
            a["modes"].append("LEAF" if leaf else "BRANCH_LEQ")
            a["truenodeids"].append(0 if leaf else int(n["left"]))
            a["falsenodeids"].append(0 if leaf else int(n["right"]))
            a["hitrates"].append(1.0)
            a["missing"].append(0)
            if leaf:
                t["treeids"].append(i)
                t["nodeids"].append(j)
                t["ids"].append(0)
                t["weights"].append(float(n["value"]))
    out = {"nodes_" + k: v for k, v in a.items() if k != "missing"} | {"target_" + k: v for k, v in t.items()}
    return out | {"nodes_missing_value_tracks_true": a["missing"]}


def graph(m):
    """structure and vector in, the log-odds of spam out."""
    info, node = helper.make_tensor_value_info, helper.make_node
    const = {
        "slope": np.array(m["slope"], dtype=np.float32), "axis": np.array([1], dtype=np.int64),
        "shift": np.array(m["shift"] + m["slope"] * float(m["trees"]._baseline_prediction[0, 0]), dtype=np.float32),
    }
    nodes = [
        node("Concat", ["spam.structure", "spam.vector"], ["row"], axis=1),
        node("TreeEnsembleRegressor", ["row"], ["tall"], domain="ai.onnx.ml", n_targets=1, aggregate_function="SUM",
             post_transform="NONE", **ensemble(m["trees"])),
        node("Squeeze", ["tall", "axis"], ["raw"]),
        node("Mul", ["raw", "slope"], ["sloped"]),
        node("Add", ["sloped", "shift"], ["scores"]),
    ]
    g = helper.make_graph(
        nodes, "agora-spam-tier1",
        [info("spam.structure", TensorProto.FLOAT, ["N", len(f.STRUCTURE)]), info("spam.vector", TensorProto.FLOAT, ["N", SIZE])],
        [info("scores", TensorProto.FLOAT, ["N"])], [numpy_helper.from_array(v, k) for k, v in const.items()])
    out = helper.make_model(
        g, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], producer_name="agora")
    out.ir_version = 8
    onnx.checker.check_model(out, full_check=True)
    return out
