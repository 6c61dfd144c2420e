"""Writes ONNX graphs as expressions.

>>> g = Graph()
>>> g.save(-g.feature("note.age_hours"), "latest.onnx")

Every value is float32. Features are [N], knobs are [1] and broadcast. Only
operators are used that a relay admits from strangers: no loops, no
expansion, no randomness. The same expressions give the same bytes.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
IR_VERSION = 8
HASHED = {"note.id", "note.author_id", "note.kind", "viewer.history", "viewer.history_authors", "viewer.history_actions"}


class Value:
    """A tensor of the graph; arithmetic on it adds nodes."""

    def __init__(self, graph, name):
        self.graph, self.name = graph, name

    def __add__(self, o): return self.graph.op("Add", self, o)
    def __radd__(self, o): return self.graph.op("Add", o, self)
    def __sub__(self, o): return self.graph.op("Sub", self, o)
    def __rsub__(self, o): return self.graph.op("Sub", o, self)
    def __mul__(self, o): return self.graph.op("Mul", self, o)
    def __rmul__(self, o): return self.graph.op("Mul", o, self)
    def __truediv__(self, o): return self.graph.op("Div", self, o)
    def __rtruediv__(self, o): return self.graph.op("Div", o, self)
    def __pow__(self, o): return self.graph.op("Pow", self, o)
    def __neg__(self): return self.graph.op("Neg", self)


class Graph:
    """One model under construction."""

    def __init__(self):
        self.nodes, self.inputs, self.constants = [], {}, {}

    def feature(self, name, shape=("N",), dtype=TensorProto.FLOAT):
        """The catalogue's feature of this name; an input of the model."""
        if name in HASHED:
            dtype = TensorProto.INT64
        if name not in self.inputs:
            self.inputs[name] = helper.make_tensor_value_info(name, dtype, list(shape))
        return Value(self, name)

    def knob(self, name):
        """A number that the reader may turn; the listing declares its range."""
        return self.feature("knob." + name, (1,))

    def constant(self, array):
        """A float32 (or int64) constant of the model."""
        array = np.asarray(array)
        if array.dtype != np.int64:
            array = array.astype(np.float32)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(array, f"c{len(self.constants)}")
        return Value(self, self.constants[key].name)

    def op(self, kind, *args, domain=None, **attributes):
        """One node; numbers among the arguments become constants."""
        names = [(a if isinstance(a, Value) else self.constant(float(a) if isinstance(a, int) else a)).name for a in args]
        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [out], name=out, domain=domain, **attributes))
        return Value(self, out)

    def log1p(self, x):
        """ln(1 + x) for x of at least 0."""
        return self.op("Log", 1.0 + self.op("Max", x, 0.0))

    def save(self, scores, path, doc=""):
        """Writes the model; its bytes depend on the expressions alone."""
        self.nodes.append(helper.make_node("Identity", [scores.name], ["scores"], name="scores"))
        graph = helper.make_graph(
            self.nodes, "ranker", list(self.inputs.values()),
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N"])],
            initializer=list(self.constants.values()),
        )
        model = helper.make_model(graph, opset_imports=OPSET, ir_version=IR_VERSION, producer_name="agora", doc_string=doc)
        onnx.checker.check_model(model, full_check=True)
        with open(path, "wb") as f:
            f.write(model.SerializeToString(deterministic=True))
