#!/usr/bin/env python3
"""Makes encoders of text as PyTorch exports them, with seeded random weights.

Six layers, 384 wide, 12 heads, tokens and their positions from tables, a mask: the size of
MiniLM-L6 (Wang and others, "MiniLM", 2020). Queries, keys and values are products with biases of
their own, GELU is spelled out with Erf, and layer normalisation is one operator (opset 17) or, as
older exports have it, made of ReduceMean, Sub, Pow, Sqrt and Div.

    python3 Benchmarks/Networks/encoder.py FOLDER
"""

import math
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH, HEADS, WORDS, TOKENS = 6, 384, 12, 4000, 128
NAMES = {"encoder": False, "encoder_parts": True}


class Maker:
    def __init__(self, parts):
        self.random = np.random.default_rng(11)
        self.nodes, self.constants, self.parts = [], [], parts

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape, scale=None):
        scale = 1 / math.sqrt(shape[0]) if scale is None else scale
        return self.constant((scale * self.random.standard_normal(shape)).astype(np.float32))

    def node(self, operation, *inputs, **attributes):
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, list(inputs), [name], name, **attributes))
        return name

    def number(self, value):
        return self.constant(np.float32(value))

    def linear(self, x, inputs, outputs):
        product = self.node("MatMul", x, self.weight(inputs, outputs))
        return self.node("Add", self.weight(outputs, scale=0.1), product)

    def normalize(self, x):
        scale = self.constant((1 + 0.1 * self.random.standard_normal(WIDTH)).astype(np.float32))
        shift = self.weight(WIDTH, scale=0.1)
        if not self.parts:
            return self.node("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-12)
        centred = self.node("Sub", x, self.node("ReduceMean", x, axes=[-1]))
        square = self.node("Pow", centred, self.number(2))
        variance = self.node("ReduceMean", square, axes=[-1])
        root = self.node("Sqrt", self.node("Add", variance, self.number(1e-12)))
        normal = self.node("Div", centred, root)
        return self.node("Add", self.node("Mul", normal, scale), shift)

    def heads(self, x, order):
        shape = self.constant(np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
        return self.node("Transpose", self.node("Reshape", x, shape), perm=order)

    def attention(self, x, mask):
        query = self.heads(self.linear(x, WIDTH, WIDTH), [0, 2, 1, 3])
        key = self.heads(self.linear(x, WIDTH, WIDTH), [0, 2, 3, 1])
        value = self.heads(self.linear(x, WIDTH, WIDTH), [0, 2, 1, 3])
        scores = self.node("MatMul", query, key)
        scores = self.node("Div", scores, self.number(math.sqrt(WIDTH // HEADS)))
        weights = self.node("Softmax", self.node("Add", scores, mask), axis=-1)
        context = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        shape = self.constant(np.array([0, 0, WIDTH], np.int64))
        return self.linear(self.node("Reshape", context, shape), WIDTH, WIDTH)

    def gelu(self, x):
        error = self.node("Erf", self.node("Div", x, self.number(math.sqrt(2))))
        product = self.node("Mul", x, self.node("Add", error, self.number(1)))
        return self.node("Mul", product, self.number(0.5))


def model(parts):
    """An encoder; its layer normalisation in parts or whole."""
    maker = Maker(parts)
    words = maker.node("Gather", maker.weight(WORDS, WIDTH, scale=1), "ids")
    places = maker.constant(np.arange(TOKENS, dtype=np.int64)[None])
    positions = maker.node("Gather", maker.weight(TOKENS, WIDTH, scale=0.3), places)
    x = maker.normalize(maker.node("Add", words, positions))
    axes = maker.constant(np.array([1, 2], np.int64))
    seen = maker.node("Cast", maker.node("Unsqueeze", "mask", axes), to=TensorProto.FLOAT)
    hidden = maker.node("Sub", maker.number(1), seen)
    mask = maker.node("Mul", hidden, maker.number(-10000))
    for _ in range(LAYERS):
        x = maker.normalize(maker.node("Add", maker.attention(x, mask), x))
        inner = maker.gelu(maker.linear(x, WIDTH, 4 * WIDTH))
        x = maker.normalize(maker.node("Add", maker.linear(inner, 4 * WIDTH, WIDTH), x))
    maker.nodes[-1].output[0] = "encoded"
    graph = helper.make_graph(
        maker.nodes, "encoder",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", TOKENS]),
         helper.make_tensor_value_info("mask", TensorProto.INT64, ["n", TOKENS])],
        [helper.make_tensor_value_info("encoded", TensorProto.FLOAT, ["n", TOKENS, WIDTH])],
        maker.constants)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def inputs(random, batch):
    """Words of sentences of several lengths."""
    mask = np.zeros((batch, TOKENS), np.int64)
    for row in mask:
        row[:random.integers(TOKENS // 4, TOKENS + 1)] = 1
    return {"ids": random.integers(0, WORDS, (batch, TOKENS)), "mask": mask}


def write_all(folder, names=NAMES):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        onnx.save(model(NAMES[name]), folder / f"{name}.onnx")


if __name__ == "__main__":
    write_all(pathlib.Path(sys.argv[1]))
