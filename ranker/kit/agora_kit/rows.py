"""Reads the rows that simulate wrote, and what the rankers predict."""

import json

import numpy as np

# What the chance of each answer is worth; published in the model card.
WORTH = {"like": 1.0, "reply": 3.0, "repost": 3.0, "zap": 3.0, "negative": -3.0}
PAST = 48
# what a moment of a reader without a follow list counts: most keys have none, and one moment in four is theirs
BARE = 2


class Rows:
    """Training rows; see trial.Rows for the files."""

    def __init__(self, folder):
        self.columns = json.loads((folder / "columns.json").read_text())
        read = lambda name, kind: np.fromfile(folder / name, kind)
        self.x = read("x.f32", "<f4").reshape(-1, len(self.columns))
        self.y = read("y.u8", np.uint8).reshape(-1, len(WORTH))
        self.scene = read("scene.i32", "<i4")
        self.weight = read("weight.f32", "<f4") * np.where(self.bare()[self.scene], BARE, 1).astype(np.float32)
        self.vector = read("vector.f32", "<f4").reshape(-1, 64)
        self.author = read("author.i64", "<i8")
        self.past = read("past.f32", "<f4").reshape(-1, PAST, 64)
        self.past_author = read("author.past.i64", "<i8").reshape(-1, PAST)
        self.past_action = read("action.past.i64", "<i8").reshape(-1, PAST)
        self.past_hours = read("hours.past.f32", "<f4").reshape(-1, PAST)

    def bare(self):
        """Whether the reader of each moment follows nobody: then no steps lead to any author."""
        out = np.ones(self.scene.max() + 1, bool)
        np.logical_and.at(out, self.scene, self.x[:, self.columns.index("pair.hops")] == 0)
        return out
