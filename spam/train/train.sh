#!/bin/sh
# Makes the shipped model and its card again, from spam/testdata. Needs python 3.11 and zstd.
#   spam/train/train.sh            # the environment goes to bin/spam-venv
set -e
cd "$(dirname "$0")/../.."
venv=bin/spam-venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check -r spam/train/requirements.txt
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1  # sums in one order
"$venv/bin/python" spam/train/train.py
go run ./cmd/agora spam train
"$venv/bin/python" spam/train/export.py spam/tier0.onnx
go run ./cmd/agora spam eval --markdown spam/MODEL.md > /dev/null
