"""Trains the text part of the model, measures it across campaigns, writes it.

    python spam/train/train.py            # everything, from the root of the repository

Nothing is random but the seeded folds. Every figure is out of fold: the score
of a text comes from a model that saw no text of its campaign, and its
threshold from the other folds.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

sys.path.insert(0, str(Path(__file__).parent))
import data
import features as f
import second
from letters import SCRIPTS

ROOT = Path(__file__).resolve().parents[1]
HEADS = ["spam", "scam", "ai"]
FLOOR = 32  # distinct n-grams that a shorter text is scaled as
STRUCTURE_WEIGHT = 0.5  # how much structure may say beside the n-grams
C = {"spam": 10, "scam": 10, "ai": 3}
SEED, FOLDS = 20230206, 5
REPEATS = [1, 2, 3]  # other ways to cut the folds, to see how much the figures move
FEW, STRICTER = 500, float(np.log(20))  # a script with fewer ham notes is asked for twenty times the odds


def group(rows, x):
    """Campaigns: the corpus's own, and near-duplicates (cosine of n-grams over one half) elsewhere."""
    names = [r["group"] or f"row:{i}" for i, r in enumerate(rows)]
    for source in ("x", "sms", "telegram", "youtube"):
        at = [i for i, r in enumerate(rows) if r["source"] == source]
        m = x[at]
        length = np.sqrt(np.asarray(m.multiply(m).sum(axis=1)).ravel())
        m = sp.diags(1 / np.maximum(length, 1e-9)) @ m
        near = (m @ m.T).tocoo()
        keep = near.data > 0.5
        _, part = connected_components(sp.coo_matrix((near.data[keep], (near.row[keep], near.col[keep])), shape=near.shape))
        for i, k in zip(at, part):
            names[i] = f"{source}:{k}"
    return np.array(names)


def matrix(rows):
    """Hashed n-grams with 1/sqrt(count), structure, and the script of each text."""
    ind, ptr, val, st, scripts = [], [0], [], [], []
    for r in rows:
        g, s, c = f.look(r["text"])
        ind.append(g)
        ptr.append(ptr[-1] + len(g))
        val.append(np.full(len(g), 1 / np.sqrt(max(len(g), FLOOR))))
        st.append(s)
        scripts.append(c)
    x = sp.csr_matrix((np.concatenate(val), np.concatenate(ind), ptr), shape=(len(rows), 1 << f.BITS))
    return x, np.array(st, dtype=np.float64), np.array(scripts)


def weights(y, groups, source, head, word):
    """A campaign weighs the square root of its size; other sources than Nostr weigh half; both classes come nearer.
    word is what the word of who labelled a row counts."""
    size = Counter(zip(groups, y))
    w = np.array([size[g, v] ** -0.5 for g, v in zip(groups, y)]) * word
    if head == "spam":
        w[source != "nostr"] *= 0.5
    w[y == 1] *= (w[y == 0].sum() / w[y == 1].sum()) ** 0.5
    return w


def fit(z, y, w, head):
    return LogisticRegression(C=C[head], solver="liblinear", max_iter=300).fit(z, y, sample_weight=w)


def quantised(model):
    """int8 n-gram weights with one scale, float structure weights, bias."""
    w = model.coef_[0]
    table, structure = w[: 1 << f.BITS], w[1 << f.BITS :] * STRUCTURE_WEIGHT
    scale = np.quantile(np.abs(table[table != 0]), 0.9995) / 127
    return np.clip(np.rint(table / scale), -127, 127).astype(np.int8), scale, structure, model.intercept_[0]


def logit(model, x, s):
    table, scale, structure, bias = quantised(model)
    return x @ (table.astype(np.float64) * scale) + s @ structure + bias


def out_of_fold(x, s, y, groups, source, head, word, seed=SEED):
    z = sp.hstack([x, sp.csr_matrix(s * STRUCTURE_WEIGHT)]).tocsr()
    w = weights(y, groups, source, head, word)
    out, fold = np.zeros(len(y)), np.zeros(len(y), dtype=int)
    strata = np.array([f"{a}{b}" for a, b in zip(source, y)])
    strata = np.unique(strata, return_inverse=True)[1]
    for k, (a, b) in enumerate(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(z, strata, groups)):
        out[b] = logit(fit(z[a], y[a], w[a], head), x[b], s[b])
        fold[b] = k
    return out, fold, fit(z, y, w, head) if seed == SEED else None


def wilson(k, n):
    """The exact (Clopper-Pearson) 95 % interval of k out of n; for k = 0 the rule of three."""
    from scipy.stats import beta
    if n == 0:
        return 0.0, 1.0
    low = 0.0 if k == 0 else beta.ppf(0.025, k, n - k + 1)
    high = 3 / n if k == 0 else beta.ppf(0.975, k + 1, n - k)
    return float(low), float(min(1, high))


def threshold(p, y, fpr):
    """Least score above which at most fpr of the ham lies."""
    ham = np.sort(p[y == 0])[::-1]
    return float(ham[min(int(fpr * len(ham)), len(ham) - 1)])


def crossed(p, y, fold, fpr):
    """Flags of every row by the threshold of the other folds."""
    flag = np.zeros(len(p), dtype=bool)
    for k in range(FOLDS):
        flag[fold == k] = p[fold == k] > threshold(p[fold != k], y[fold != k], fpr)
    return flag


def measured(p, y, groups, fold, fpr):
    """AUC and TPR with intervals from 300 resamplings of whole campaigns."""
    rng = np.random.default_rng(SEED)
    names, inverse = np.unique(groups, return_inverse=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    flag = crossed(p, y, fold, fpr)
    exact = tpr_at(p, y, fpr)
    aucs, tprs = [], []
    for _ in range(300):
        at = np.concatenate([members[i] for i in rng.integers(0, len(names), len(names))])
        if len(set(y[at])) < 2:
            continue
        aucs.append(roc_auc_score(y[at], p[at]))
        tprs.append(tpr_at(p[at], y[at], fpr))
    k, n = int(flag[y == 0].sum()), int((y == 0).sum())
    return {
        "auc": roc_auc_score(y, p), "auc95": list(np.quantile(aucs, [0.025, 0.975])),
        "tpr": exact, "tpr95": list(np.quantile(tprs, [0.025, 0.975])), "at": fpr,
        "tpr_crossed": float(flag[y == 1].mean()), "fpr_crossed": k / n, "fpr_crossed95": list(wilson(k, n)),
        "positives": int((y == 1).sum()), "negatives": n,
    }


def tpr_at(p, y, fpr):
    return float((p[y == 1] > threshold(p, y, fpr)).mean())


def platt(p, y):
    m = LogisticRegression(C=1e6).fit(p[:, None], y)
    return float(m.coef_[0, 0]), float(m.intercept_[0])


def by_script(p, y, scripts, cut):
    """Per script with at least 40 ham: FPR at the shipped threshold, TPR, AUC within."""
    out = []
    for k, name in enumerate(SCRIPTS):
        m = scripts == k
        ham, spam = m & (y == 0), m & (y == 1)
        if ham.sum() < 40:
            continue
        hits = int((p[ham] > cut[k]).sum())
        row = {"script": name, "ham": int(ham.sum()), "spam": int(spam.sum()), "hits": hits,
               "fpr": hits / int(ham.sum()), "fpr95": list(wilson(hits, int(ham.sum())))}
        if spam.sum() >= 5:
            row |= {"tpr": float((p[spam] > cut[k]).mean()), "auc": roc_auc_score(y[m], p[m])}
        out.append(row)
    return out


def cuts(p, y, scripts, fpr):
    """One threshold per script: the common one; for a script of which few ham notes are known, twenty times
    those odds, and more if an upper bound of 6.5 % needs it."""
    common = threshold(p, y, fpr)
    out = []
    for k in range(len(SCRIPTS)):
        ham = np.sort(p[(scripts == k) & (y == 0)])[::-1]
        if len(ham) >= FEW:
            out.append(common)
            continue
        allowed = max([a for a in range(len(ham)) if a == 0 or wilson(a, len(ham))[1] <= 0.065], default=0)
        out.append(max(common + STRICTER, float(ham[allowed]) if len(ham) >= 40 else common))
    return out


def learn(rows):
    """All heads: the models, their out-of-fold scores and what was measured."""
    x, s, scripts = matrix(rows)
    groups = group(rows, x)
    source = np.array([r["source"] for r in rows])
    word = np.array([r["weight"] for r in rows])
    heads, report, oof = {}, {}, {}
    for head in HEADS:
        at = np.array([i for i, r in enumerate(rows) if r[head] is not None])
        if head == "scam":  # ham of Nostr is known to be neither
            at = np.array([i for i, r in enumerate(rows) if r["scam"] is not None])
        y = np.array([rows[i][head] for i in at])
        p, fold, model = out_of_fold(x[at], s[at], y, groups[at], source[at], head, word[at])
        main = {"spam": "nostr", "scam": "x", "ai": "replies"}[head]
        m = source[at] == main
        a, b = platt(p[m], y[m])
        heads[head] = (*quantised(model), a, b)
        p = a * p + b
        fpr = {"spam": 0.01, "scam": 0.02, "ai": 0.01}[head]
        report[head] = measured(p[m], y[m], groups[at][m], fold[m], fpr)
        oof[head] = (at[m], p[m], y[m], fold[m], scripts[at][m], groups[at][m])
        if head == "spam":
            tier1 = second.learn(
                x[at], s[at], y, weights(y, groups[at], source[at], head, word[at]), fold, m, p[m], threshold(p[m], y[m], fpr), threshold, crossed, tpr_at)
            print("tier 1", tier1["report"], flush=True)
            report["repeats"] = []
            for seed in REPEATS:
                q, other, _ = out_of_fold(x[at], s[at], y, groups[at], source[at], head, word[at], seed)
                report["repeats"].append(measured(q[m], y[m], groups[at][m], other[m], fpr))
        print(head, {k: np.round(v, 3) for k, v in report[head].items()}, flush=True)
    return heads, report, oof, tier1


def main():
    rows = data.rows(ROOT / "testdata")
    heads, report, oof, tier1 = learn(rows)
    import write
    at, p, y, fold, scripts, groups = oof["spam"]
    cut = {"suspect": cuts(p, y, scripts, 0.01), "sure": cuts(p, y, scripts, 0.001)}
    report["scripts"] = by_script(p, y, scripts, cut["suspect"])
    # the same with thresholds of the other folds, so that no row sets its own
    flag = np.zeros(len(p), dtype=bool)
    for k in range(FOLDS):
        other = cuts(p[fold != k], y[fold != k], scripts[fold != k], 0.01)
        flag[fold == k] = p[fold == k] > np.array(other)[scripts[fold == k]]
    for row in report["scripts"]:
        m = (scripts == SCRIPTS.index(row["script"])) & (y == 0)
        row["hits_crossed"], row["fpr_crossed95"] = int(flag[m].sum()), list(wilson(int(flag[m].sum()), int(m.sum())))
    cut["scam"] = [threshold(oof["scam"][1], oof["scam"][2], 0.02)]
    cut["ai"] = [threshold(oof["ai"][1], oof["ai"][2], 0.01)]
    write.model(ROOT / "text.model", heads, cut, report)
    second.write(ROOT / "second.model", tier1)
    (ROOT / "second.onnx").write_bytes(second.graph(tier1).SerializeToString())
    write.parity(ROOT / "testdata" / "parity.jsonl.zst", rows, heads, tier1)
    write.stream(ROOT / "testdata" / "stream.jsonl.zst", rows, at, p, y, groups, tier1["second"])
    print(json.dumps(report["scripts"], indent=1))


if __name__ == "__main__":
    main()
