"""foryou-gbdt: boosted trees for the chance of each answer.

A trunk learns by LightGBM whether a note is answered with anything good at all;
like, reply, repost and zap each go on from there with a few small trees of
their own, and a rejection has its own from the start. All of them are one
TreeEnsembleRegressor with six targets; the score is the sum of the chances,
each times its published worth.
"""

import lightgbm
import numpy as np

from .graph import Graph
from .rows import WORTH, Rows

KEPT = 48  # columns; the rest add less than they cost to fill
TRUNK = {"trees": 70, "num_leaves": 16, "learning_rate": 0.12}
HEADS = {"num_leaves": 6, "learning_rate": 0.1}
TREES = {"like": 8, "reply": 8, "repost": 8, "zap": 6, "negative": 10}
SETTINGS = {
    "objective": "binary", "min_data_in_leaf": 200, "max_bin": 127, "lambda_l2": 5.0,
    "deterministic": True, "force_row_wise": True, "num_threads": 1, "seed": 1, "verbose": -1,
}
# what the trained weights may not lean on: the crowd's clock and sizes are its own, and
# foryou-gbdt's listing has no stage that fills the novelty
LEFT = {"author.age_days", "text.script", "viewer.script_share", "stage.novelty"}


def fit(rows, x, y, trees, start=None, **settings):
    data = lightgbm.Dataset(x, y, weight=rows.weight, init_score=start)
    return lightgbm.train(SETTINGS | settings, data, num_boost_round=trees)


def choose(rows):
    """The columns that gain most, in the catalogue's order."""
    usable = [i for i, name in enumerate(rows.columns) if name not in LEFT]
    x = rows.x[:, usable]
    gain = np.zeros(len(usable))
    for target in range(len(WORTH)):
        gains = fit(rows, x, rows.y[:, target], 20, num_leaves=12, learning_rate=0.12).feature_importance("gain")
        gain += gains / max(gains.sum(), 1e-9)
    best = np.argsort(-gain, kind="stable")[:KEPT]
    return sorted(usable[i] for i in best)


def shift(rows, raw, y):
    """What to add to log odds so that their mean chance is that of an answer."""
    by = 0.0
    for _ in range(50):
        p = 1 / (1 + np.exp(-raw - by))
        by -= float(((p - y) * rows.weight).sum() / (p * (1 - p) * rows.weight).sum())
    return by


def train(rows, columns):
    """The trunk and, by answer, its trees and what is added to the trunk; None: it does not go on from there."""
    x = rows.x[:, columns]
    good = [i for i, w in enumerate(WORTH.values()) if w > 0]
    trunk = fit(rows, x, rows.y[:, good].max(axis=1), TRUNK["trees"], **{k: v for k, v in TRUNK.items() if k != "trees"})
    raw = trunk.predict(x, raw_score=True)
    heads = []
    for i, answer in enumerate(WORTH):
        by = shift(rows, raw, rows.y[:, i]) if i in good else None
        start = None if by is None else raw + by
        heads.append((fit(rows, x, rows.y[:, i], TREES[answer], start, **HEADS), by))
    return trunk, heads


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


def write(rows, columns, trunk, heads, path):
    ensemble = Ensemble()
    for target, model in enumerate([trunk] + [head for head, _ in heads]):
        for tree in model.dump_model()["tree_info"]:
            ensemble.add(target, tree["tree_structure"])
    g = Graph()
    axis = g.constant(np.array([1], np.int64))
    parts = [g.op("Unsqueeze", g.feature(rows.columns[c]), axis) for c in columns]
    x = g.op("Concat", *parts, axis=1)
    attributes = {"nodes_" + k: v for k, v in ensemble.node.items()} | {"target_" + k: v for k, v in ensemble.leaf.items()}
    raw = g.op("TreeEnsembleRegressor", x, domain="ai.onnx.ml", n_targets=1 + len(heads), post_transform="NONE", aggregate_function="SUM", **attributes)
    own = np.eye(len(heads), dtype=np.float32)
    mix = np.vstack([[0.0 if by is None else 1.0 for _, by in heads], own])
    chance = g.op("Sigmoid", g.op("MatMul", raw, mix) + np.array([by or 0.0 for _, by in heads]))
    worth = np.array([[w] for w in WORTH.values()], np.float32)
    g.save(g.op("Squeeze", g.op("MatMul", chance, worth), axis), path, doc="chance of each answer times its worth: " + repr(WORTH))


def build(folder, out):
    rows = Rows(folder)
    columns = choose(rows)
    trunk, heads = train(rows, columns)
    write(rows, columns, trunk, heads, out / "foryou-gbdt.onnx")
