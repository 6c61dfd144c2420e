"""foryou-gbdt: boosted trees for the chance of each answer.

Five ensembles by LightGBM (like, reply, repost, zap, negative) become one
TreeEnsembleRegressor with five targets; the score is the sum of the chances,
each times its published worth.
"""

import lightgbm
import numpy as np

from .graph import Graph
from .rows import WORTH, Rows

KEPT = 48  # columns; the rest add less than they cost to fill
TREES = {"like": 70, "reply": 40, "repost": 40, "zap": 30, "negative": 40}
SETTINGS = {
    "objective": "binary", "num_leaves": 12, "learning_rate": 0.12, "min_data_in_leaf": 200, "max_bin": 127,
    "lambda_l2": 5.0, "deterministic": True, "force_row_wise": True, "num_threads": 1, "seed": 1, "verbose": -1,
}
# what the trained weights may not lean on: the crowd's clock and sizes are its own
LEFT = {"author.age_days", "text.script", "viewer.script_share"}


def fit(rows, columns, rounds):
    names = [rows.columns[c] for c in columns]
    x = rows.x[:, columns]
    out = []
    for target, answer in enumerate(WORTH):
        data = lightgbm.Dataset(x, rows.y[:, target], weight=rows.weight, feature_name=[n.replace(".", "_") for n in names], free_raw_data=False)
        out.append(lightgbm.train(SETTINGS, data, num_boost_round=rounds(answer)))
    return out


def choose(rows):
    """The columns that gain most, in the catalogue's order."""
    usable = [i for i, name in enumerate(rows.columns) if name not in LEFT]
    gain = np.zeros(len(usable))
    for model in fit(rows, usable, lambda _: 20):
        gains = model.feature_importance("gain")
        gain += gains / max(gains.sum(), 1e-9)
    best = np.argsort(-gain, kind="stable")[:KEPT]
    return sorted(usable[i] for i in best)


def below(threshold):
    """The largest float32 that is not above a threshold: x <= t stays what it was."""
    t = np.float32(threshold)
    return float(np.nextafter(t, np.float32(-np.inf)) if float(t) > threshold else t)


class Ensemble:
    """The attributes of a TreeEnsembleRegressor."""

    def __init__(self):
        self.node = {k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true", "hitrates")}
        self.leaf = {k: [] for k in ("treeids", "nodeids", "ids", "weights")}
        self.trees = 0

    def add(self, target, tree):
        self.count = 0
        self.walk(target, tree)
        self.trees += 1

    def walk(self, target, node):
        at, self.count = self.count, self.count + 1
        n = len(self.node["treeids"])
        leaf = "leaf_value" in node
        for key, value in (("treeids", self.trees), ("nodeids", at), ("featureids", 0 if leaf else node["split_feature"]),
                           ("values", 0.0 if leaf else below(node["threshold"])), ("modes", "LEAF" if leaf else "BRANCH_LEQ"),
                           ("truenodeids", 0), ("falsenodeids", 0), ("missing_value_tracks_true", 0), ("hitrates", 1.0)):
            self.node[key].append(value)
        if leaf:
            for key, value in (("treeids", self.trees), ("nodeids", at), ("ids", target), ("weights", float(np.float32(node["leaf_value"])))):
                self.leaf[key].append(value)
            return at
        assert node["decision_type"] == "<="
        self.node["truenodeids"][n] = self.walk(target, node["left_child"])
        self.node["falsenodeids"][n] = self.walk(target, node["right_child"])
        return at


def write(rows, columns, models, path):
    ensemble = Ensemble()
    for target, model in enumerate(models):
        for tree in model.dump_model()["tree_info"]:
            ensemble.add(target, tree["tree_structure"])
    g = Graph()
    axis = g.constant(np.array([1], np.int64))
    parts = [g.op("Unsqueeze", g.feature(rows.columns[c]), axis) for c in columns]
    x = g.op("Concat", *parts, axis=1)
    attributes = {"nodes_" + k: v for k, v in ensemble.node.items()} | {"target_" + k: v for k, v in ensemble.leaf.items()}
    raw = g.op("TreeEnsembleRegressor", x, domain="ai.onnx.ml", n_targets=len(models), post_transform="NONE", aggregate_function="SUM", **attributes)
    chance = g.op("Sigmoid", raw)
    worth = np.array([[w] for w in WORTH.values()], np.float32)
    g.save(g.op("Squeeze", g.op("MatMul", chance, worth), axis), path, doc="chance of each answer times its worth: " + repr(WORTH))


def build(folder, out):
    rows = Rows(folder)
    columns = choose(rows)
    models = fit(rows, columns, lambda answer: TREES[answer])
    write(rows, columns, models, out / "foryou-gbdt.onnx")
    return [rows.columns[c] for c in columns], models


