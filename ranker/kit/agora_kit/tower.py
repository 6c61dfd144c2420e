"""foryou-tower: a small transformer over what the viewer acted on last.

The history (48 notes: text vector, action, age) passes one layer of
self-attention; each candidate attends to it by itself, so that its score does
not depend on the notes beside it. What the candidate is (text vector, 26
numbers), what it found in the history, and how its author fares there go into
the chances of five answers, and these into the score by their published worth.

Trained with autograd and Adam; one thread, one order, one seed.
"""

import autograd.numpy as anp
import numpy as np
from autograd import grad

from .graph import Graph
from .rows import PAST, WORTH, Rows

WIDTH, HIDDEN, ACTIONS = 32, 64, 9
EPOCHS, BATCH, RATE, SEED = 10, 48, 2e-3, 7
DENSE = [
    "note.age_hours", "pair.trust", "pair.follows", "pair.hops", "pair.recency", "pair.common_share", "pair.interest",
    "pair.likes_total", "pair.likes_30d", "pair.inbound_30d", "proof.likes", "proof.replies", "proof.trust", "author.trust",
    "author.followers_trust", "author.likes_per_note", "author.replies_per_note", "author.notes_per_day", "count.likes",
    "count.likes_trust", "count.replies_trust", "count.reposts_trust", "count.dislikes_trust", "rate.keys_1h", "rate.trust_6h", "stage.colike",
]


def weights(random):
    """Fresh weights, float32, by name."""
    def draw(rows, columns):
        return (random.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)

    whole = 3 * WIDTH + 4 + len(DENSE)
    zero = lambda n: np.zeros(n, np.float32)
    return {
        "past": draw(64, WIDTH), "action": draw(ACTIONS, WIDTH), "hours": draw(1, WIDTH),
        "q1": draw(WIDTH, WIDTH), "k1": draw(WIDTH, WIDTH), "v1": draw(WIDTH, WIDTH), "up": draw(WIDTH, HIDDEN), "down": draw(HIDDEN, WIDTH),
        "note": draw(64, WIDTH), "dense": draw(len(DENSE), WIDTH),
        "q2": draw(WIDTH, WIDTH), "k2": draw(WIDTH, WIDTH), "v2": draw(WIDTH, WIDTH), "same": draw(ACTIONS, 4),
        "w1": draw(whole, HIDDEN), "b1": zero(HIDDEN), "w2": draw(HIDDEN, HIDDEN), "b2": zero(HIDDEN), "w3": draw(HIDDEN, len(WORTH)), "b3": zero(len(WORTH)),
    }


def softmax(x):
    e = anp.exp(x - anp.max(x, axis=-1, keepdims=True))
    return e / anp.sum(e, axis=-1, keepdims=True)


def flip(x):
    return anp.swapaxes(x, -1, -2)


def forward(w, b):
    """Logits [scenes, rows, 5]. The ONNX graph below is the same, line by line."""
    there = b["there"]  # [S, H, 1]
    h = anp.matmul(b["past"], w["past"]) + anp.matmul(b["action"], w["action"]) + b["hours"] * w["hours"]
    lost = (flip(there) - 1.0) * 1e4  # [S, 1, H]
    a = softmax(anp.matmul(anp.matmul(h, w["q1"]), flip(anp.matmul(h, w["k1"]))) * WIDTH ** -0.5 + lost)
    h = h + anp.matmul(a, anp.matmul(h, w["v1"]) * there)
    h = h + anp.matmul(anp.maximum(anp.matmul(h, w["up"]), 0.0), w["down"])
    c = anp.matmul(b["vector"], w["note"]) + anp.matmul(b["dense"], w["dense"])
    a = softmax(anp.matmul(anp.matmul(c, w["q2"]), flip(anp.matmul(h, w["k2"]))) * WIDTH ** -0.5 + lost)
    found = anp.matmul(a, anp.matmul(h, w["v2"]) * there)
    same = anp.matmul(b["same"], anp.matmul(b["action"], w["same"]) * b["fresh"])
    x = anp.concatenate([c, found, c * found, anp.tanh(same), b["dense"]], axis=-1)
    x = anp.maximum(anp.matmul(x, w["w1"]) + w["b1"], 0.0)
    x = anp.maximum(anp.matmul(x, w["w2"]) + w["b2"], 0.0) + x
    return anp.matmul(x, w["w3"]) + w["b3"]


def loss(w, b):
    z = forward(w, b)
    each = anp.logaddexp(0.0, z) - b["y"] * z
    size = sum(anp.sum(v * v) for v in w.values())
    return anp.sum(each * b["weight"]) / anp.sum(b["weight"]) + 1e-6 * size


class Batches:
    """Rows by moment, padded to one length."""

    def __init__(self, rows):
        self.rows = rows
        self.columns = [rows.columns.index(name) for name in DENSE]
        sample = squash(rows.x[:, self.columns])
        self.mean, self.deviation = sample.mean(0), sample.std(0) + 1e-3
        starts = np.flatnonzero(np.diff(rows.scene, prepend=-1))
        self.spans = list(zip(starts, np.append(starts[1:], len(rows.scene))))

    def make(self, scenes):
        r, longest = self.rows, max(self.spans[s][1] - self.spans[s][0] for s in scenes)
        pad = lambda *shape: np.zeros((len(scenes), longest) + shape, np.float32)
        b = {"vector": pad(64), "dense": pad(len(DENSE)), "y": pad(len(WORTH)), "weight": pad(1), "same": pad(PAST)}
        for i, s in enumerate(scenes):
            at = slice(*self.spans[s])
            n = at.stop - at.start
            b["vector"][i, :n] = r.vector[at]
            b["dense"][i, :n] = (squash(r.x[at][:, self.columns]) - self.mean) / self.deviation
            b["y"][i, :n], b["weight"][i, :n, 0] = r.y[at], r.weight[at]
            b["same"][i, :n] = r.author[at][:, None] == r.past_author[s][None]
        action = r.past_action[scenes]
        b["past"], b["action"] = r.past[scenes], np.eye(ACTIONS, dtype=np.float32)[action]
        b["there"] = (action > 0)[..., None].astype(np.float32)
        hours = r.past_hours[scenes][..., None]
        b["hours"], b["fresh"] = np.log1p(hours), np.exp2(-hours / np.float32(72.0)) * b["there"]
        return b


def squash(x):
    return np.log1p(np.maximum(x, 0)).astype(np.float32)


def train(batches, say=lambda *_: None):
    random = np.random.default_rng(SEED)
    w = weights(random)
    w["b3"] = np.log(np.average(batches.rows.y, axis=0, weights=batches.rows.weight) + 1e-5).astype(np.float32)
    step, slope = 0, grad(loss)
    first = {k: np.zeros_like(v) for k, v in w.items()}
    second = {k: np.zeros_like(v) for k, v in w.items()}
    total = EPOCHS * (len(batches.spans) // BATCH)
    for epoch in range(EPOCHS):
        order = random.permutation(len(batches.spans))
        for at in range(0, len(order) - BATCH + 1, BATCH):
            step += 1
            g = slope(w, batches.make(order[at:at + BATCH]))
            rate = RATE * min(1.0, step / 50) * (1.0 - step / (total + 1))
            for k in w:
                first[k] = 0.9 * first[k] + 0.1 * g[k]
                second[k] = 0.999 * second[k] + 0.001 * g[k] ** 2
                w[k] = (w[k] - rate * (first[k] / (1 - 0.9 ** step)) / (np.sqrt(second[k] / (1 - 0.999 ** step)) + 1e-8)).astype(np.float32)
        say(epoch, loss(w, batches.make(order[:BATCH])))
    return w


def write(w, mean, deviation, path):
    g = Graph()
    w = {k: g.constant(v) for k, v in w.items()}
    axes = lambda n: g.constant(np.array([n], np.int64))
    mm = lambda a, b: g.op("MatMul", a, b)
    flip2 = lambda x: g.op("Transpose", x, perm=[1, 0])
    soft = lambda x: g.op("Softmax", x, axis=-1)
    relu = lambda x: g.op("Relu", x)
    past = g.feature("viewer.history_vectors", (PAST, 64))
    authors, actions = g.feature("viewer.history_authors", (PAST,)), g.feature("viewer.history_actions", (PAST,))
    hours = g.op("Unsqueeze", g.feature("viewer.history_hours", (PAST,)), axes(1))
    action = g.op("Gather", g.constant(np.eye(ACTIONS, dtype=np.float32)), actions, axis=0)
    there = 1.0 - g.op("Slice", action, axes(0), axes(1), axes(1))  # action 0 is padding
    h = mm(past, w["past"]) + mm(action, w["action"]) + g.log1p(hours) * w["hours"]
    lost = (flip2(there) - 1.0) * 1e4
    a = soft(mm(mm(h, w["q1"]), flip2(mm(h, w["k1"]))) * WIDTH ** -0.5 + lost)
    h = h + mm(a, mm(h, w["v1"]) * there)
    h = h + mm(relu(mm(h, w["up"])), w["down"])
    columns = [g.op("Unsqueeze", g.feature(name), axes(1)) for name in DENSE]
    dense = (g.log1p(g.op("Concat", *columns, axis=1)) - mean) / deviation
    c = mm(g.feature("note.vector", ("N", 64)), w["note"]) + mm(dense, w["dense"])
    a = soft(mm(mm(c, w["q2"]), flip2(mm(h, w["k2"]))) * WIDTH ** -0.5 + lost)
    found = mm(a, mm(h, w["v2"]) * there)
    equal = g.op("Equal", g.op("Unsqueeze", g.feature("note.author_id"), axes(1)), g.op("Unsqueeze", authors, axes(0)))
    fresh = g.op("Pow", 2.0, hours * (-1 / 72)) * there
    same = mm(g.op("Cast", equal, to=1), mm(action, w["same"]) * fresh)
    x = g.op("Concat", c, found, c * found, g.op("Tanh", same), dense, axis=1)
    x = relu(mm(x, w["w1"]) + w["b1"])
    x = relu(mm(x, w["w2"]) + w["b2"]) + x
    chance = g.op("Sigmoid", mm(x, w["w3"]) + w["b3"])
    scores = mm(chance, np.array([[v] for v in WORTH.values()], np.float32))
    g.save(g.op("Squeeze", scores, axes(1)), path, doc="chance of each answer times its worth: " + repr(WORTH))


def build(folder, out, say=lambda *_: None):
    batches = Batches(Rows(folder))
    w = train(batches, say)
    write(w, batches.mean, batches.deviation, out / "foryou-tower.onnx")
    return w, batches
