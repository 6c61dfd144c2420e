"""Builds the rankers that Agora brings along: ONNX files and their listings.

A ranker is an ONNX graph. The names of its inputs are names of the feature
catalogue (docs/features.md), its one output is ``scores`` float32[N], and a
higher score stands higher on the page.
"""
