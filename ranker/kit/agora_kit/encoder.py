"""Learns the text encoder: latent semantic analysis of the texts' words.

python -m agora_kit.encoder TOKENS.jsonl OUT.bin
"""

import json
import pathlib
import sys

import numpy as np
from scipy.sparse import csr_matrix

VOCABULARY, SIZE = 1 << 16, 64


def learn(lines):
    """The file's bytes: a uint16 row number for each token, then int8 rows."""
    texts = [sorted(set(json.loads(line) or [])) for line in lines]
    count = np.zeros(VOCABULARY, np.int64)
    for text in texts:
        count[text] += 1
    tokens = np.flatnonzero((count >= 2) & (count < len(texts) // 5))
    column = np.full(VOCABULARY, -1)
    column[tokens] = np.arange(len(tokens))
    idf = np.log(len(texts) / np.maximum(count[tokens], 1))
    rows, columns, values = [], [], []
    for i, text in enumerate(texts):
        known = [column[t] for t in text if column[t] >= 0]
        length = np.sqrt(sum(idf[k] ** 2 for k in known)) or 1.0
        rows += [i] * len(known)
        columns += known
        values += [idf[k] / length for k in known]
    matrix = csr_matrix((values, (rows, columns)), shape=(len(texts), len(tokens)))
    # the eigenvectors of the smaller Gram matrix: no start vector, no chance
    gram = (matrix @ matrix.T).toarray()
    strength, left = np.linalg.eigh(gram)
    strength, left = strength[::-1][:SIZE], left[:, ::-1][:, :SIZE]
    table = np.asarray(matrix.T @ left) / np.sqrt(strength)  # right singular vectors
    table *= np.sign(table[np.abs(table).argmax(axis=0), np.arange(SIZE)])
    table *= idf[:, None]
    rows = np.clip(np.round(table / np.abs(table).max() * 127 * 8), -127, 127).astype(np.int8)
    number = np.zeros(VOCABULARY, "<u2")
    number[tokens] = 1 + np.arange(len(tokens))
    return number.tobytes() + rows.tobytes()


if __name__ == "__main__":
    with open(sys.argv[1]) as lines:
        pathlib.Path(sys.argv[2]).write_bytes(learn(lines))
