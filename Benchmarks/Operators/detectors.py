"""Rules for detectors, for the attention of newer operator sets, and for subgraphs."""

import numpy as np
from onnx import TensorProto, helper

from graphs import Rejected
from layers import FLOAT, weight
from rules import rule


@rule(0.7)
def boxes(g):
    """Suppression of boxes that overlap; scores are apart, so that their order is certain."""
    count, classes = g.integer(2, 8), g.integer(1, 2)
    corner = g.random.uniform(0, 5, [1, count, 2])
    size = g.random.uniform(1, 4, [1, count, 2])
    place = g.constant(np.concatenate([corner, corner + size], -1).astype(np.float32))
    order = g.random.permutation(classes * count).reshape([1, classes, count])
    scores = g.constant((order / order.size).astype(np.float32))
    limits = [
        g.constant(np.asarray([number], dtype))
        for number, dtype in (
            (g.integer(1, 4), np.int64),
            (g.choose([0.11, 0.31, 0.51]), np.float32),
            (g.choose([0.013, 0.301]), np.float32),
        )
    ]
    y = g.add(
        "NonMaxSuppression", [place, scores, *limits], exact=True, center_point_box=g.integer(0, 1)
    )
    g.add("Gather", [y, g.constant(np.asarray(2, np.int64))], exact=True, axis=1)


@rule(0.7)
def regions(g):
    if g.opset < 16:
        raise Rejected
    x = g.pick(FLOAT, low=4, high=4)
    count = g.integer(1, 3)
    corner = g.random.uniform(0, 2, [count, 2])
    places = g.constant(
        np.concatenate([corner, corner + g.random.uniform(1, 3, [count, 2])], -1).astype(np.float32)
    )
    batch = g.constant(g.random.integers(0, x.shape[0], [count]).astype(np.int64))
    g.add(
        "RoiAlign",
        [x, places, batch],
        output_height=g.integer(1, 3),
        output_width=g.integer(1, 3),
        sampling_ratio=g.integer(1, 2),
        mode="avg",
        coordinate_transformation_mode=g.choose(["half_pixel", "output_half_pixel"]),
    )


@rule(0.7)
def crop(g):
    if g.opset < 18:
        raise Rejected
    x = g.pick(FLOAT, low=2)
    axes = sorted({g.integer(0, x.rank - 1) for _ in range(2)})
    sizes = [g.integer(1, x.shape[axis] + 2) for axis in axes]
    g.add("CenterCropPad", [x, g.ints(sizes)], exact=True, axes=axes)


@rule(0.5)
def columns_to_image(g):
    if g.opset < 18:
        raise Rejected
    x = g.pick(FLOAT, low=3, high=3)
    if x.shape[1] % 2:
        raise Rejected
    g.add("Col2Im", [x, g.ints([x.shape[2], 2]), g.ints([1, 2])])


@rule(0.5)
def determinant(g):
    x = g.pick(FLOAT, low=2, where=lambda value: value.shape[-1] == value.shape[-2])
    g.add("Det", [x])


@rule(0.5)
def transform(g):
    if g.opset < 17:
        raise Rejected
    x = g.pick(FLOAT, low=2, high=4)
    real = g.add("Unsqueeze", [x, g.ints([-1])], exact=True)
    operands = [real, None]
    given = {"inverse": g.integer(0, 1)}
    if g.opset >= 20:
        operands.append(g.constant(np.asarray(x.rank - 1, np.int64)))
    else:
        given["axis"] = x.rank - 1
    if not given["inverse"]:
        given["onesided"] = g.integer(0, 1)
    g.add("DFT", operands, **given)


@rule(1)
def root_mean_square(g):
    if g.opset < 23:
        raise Rejected
    x = g.pick(FLOAT, low=2)
    g.add("RMSNormalization", [x, g.weight([x.shape[-1]])], axis=-1, epsilon=0.05)


@rule(1.5)
def attention_operator(g):
    if g.opset < 23:
        raise Rejected
    x = g.pick(FLOAT, low=3, high=3)
    batch, time, width = x.shape
    heads, size, wide = g.integer(1, 2), g.integer(1, 3), g.integer(1, 3)
    groups = g.choose([1, heads])
    q = g.add("MatMul", [x, weight(g, [width, heads * size])])
    k = g.add("MatMul", [x, weight(g, [width, groups * size])])
    v = g.add("MatMul", [x, weight(g, [width, groups * wide])])
    operands = [q, k, v]
    if g.chance(0.3):
        operands.append(g.weight([time, time]))
    given = {"is_causal": 1} if g.chance(0.3) else {}
    if g.chance(0.3):
        given["softcap"] = 2.0
    g.add("Attention", operands, q_num_heads=heads, kv_num_heads=groups, **given)


@rule(1)
def rotary(g):
    if g.opset < 23:
        raise Rejected
    x = g.pick(FLOAT, low=4, high=4, where=lambda value: value.shape[3] % 2 == 0)
    batch, _, time, size = x.shape
    angles = [g.weight([batch, time, size // 2]) for _ in range(2)]
    g.add("RotaryEmbedding", [x, *angles], interleaved=g.integer(0, 1))


@rule(1)
def branch(g):
    """A choice between two subgraphs that read a value from outside."""
    x = g.pick(FLOAT, low=1)
    names = [
        (g.choose(["Relu", "Neg", "Abs", "Identity"]), f"b{len(g.nodes)}_{i}") for i in range(2)
    ]
    branches = []
    for operation, name in names:
        node = helper.make_node(operation, [x.name], [name], name=name)
        info = helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * x.rank)
        branches.append(helper.make_graph([node], name, [], [info]))
    if g.chance(0.5):
        condition = g.constant(np.asarray(g.chance(0.5)))
    else:
        condition = g.add(
            "Greater",
            [g.add("ReduceMax", [x], keepdims=0), g.constant(np.float32(g.random.uniform(-1, 1)))],
        )
    g.add(
        "If",
        [condition],
        captured=[x],
        exact=True,
        then_branch=branches[0],
        else_branch=branches[1],
    )


@rule(1)
def loop(g):
    """A constant number of rounds over a state, with what each made."""
    x = g.pick(FLOAT, low=1, high=3)
    tag = f"l{len(g.nodes)}"
    names = {part: f"{tag}_{part}" for part in ("round", "go", "state", "next", "on", "out")}
    nodes = [
        helper.make_node(g.choose(["Tanh", "Sin", "Sigmoid"]), [names["state"]], [names["next"]]),
        helper.make_node("Identity", [names["go"]], [names["on"]]),
        helper.make_node("Identity", [names["next"]], [names["out"]]),
    ]
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        nodes,
        tag,
        [
            info(names["round"], TensorProto.INT64, []),
            info(names["go"], TensorProto.BOOL, []),
            info(names["state"], TensorProto.FLOAT, [None] * x.rank),
        ],
        [
            info(names["on"], TensorProto.BOOL, []),
            info(names["next"], TensorProto.FLOAT, [None] * x.rank),
            info(names["out"], TensorProto.FLOAT, [None] * x.rank),
        ],
    )
    rounds = g.constant(np.asarray(g.integer(1, 3), np.int64))
    g.add_all("Loop", [rounds, g.constant(np.asarray(True)), x], 2, body=body)
