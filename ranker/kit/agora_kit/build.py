"""python -m agora_kit.build OUT [--rows FOLDER]: writes every model and rankers.json."""

import argparse
import hashlib
import json
import pathlib

from .formulas import FORMULAS
from .graph import Graph
from .listings import LISTINGS, listing


def build(out, rows):
    """Formulas always; the trained ones when there are rows to train on."""
    for slug, formula in FORMULAS.items():
        g = Graph()
        g.save(formula(g), out / f"{slug}.onnx", doc=(formula.__doc__ or "").strip())
    if rows:
        from . import gbdt, tower
        gbdt.build(rows, out)
        tower.build(rows, out)
    made = []
    for entry in LISTINGS:
        item = listing(*entry)
        if not (out / item["file"]).exists():
            continue  # untrained so far: no rows were given
        item["sha256"] = hashlib.sha256((out / item["file"]).read_bytes()).hexdigest()
        made.append(item)
    (out / "rankers.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--rows", type=pathlib.Path, help="folder that agora ranker rows wrote")
    args = parser.parse_args()
    build(args.out, args.rows)
