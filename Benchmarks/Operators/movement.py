"""Rules for the operators that move, repeat, choose and count elements."""

import numpy as np
from onnx import TensorProto, helper

from graphs import ANY, Rejected, product
from rules import rule

MOVED = (np.float32, np.float32, np.int64, np.float64, np.int32, np.bool_, np.uint8)


def factors(g, count):
    """A random way to write a number as a product."""
    shape = []
    while count > 1 and len(shape) < 4:
        divisors = [d for d in range(1, count + 1) if count % d == 0]
        shape.append(g.choose(divisors))
        count //= shape[-1]
    return shape + [count]


@rule(4)
def reshape(g):
    x = g.pick(ANY)
    shape = x.shape
    if g.chance(0.6) and x.rank > 1 and shape[0]:
        target = [shape[0]] + factors(g, product(shape[1:]))
        if g.chance(0.4):
            target[0] = 0
    else:
        target = factors(g, product(shape))
    if g.chance(0.5):
        target[g.integer(0, len(target) - 1)] = -1
    g.add("Reshape", [x, g.ints(target)], exact=True)


@rule(1)
def reshape_by_shape(g):
    x = g.pick((np.float32,), low=2)
    shape = g.add("Shape", [x])
    first = g.add("Gather", [shape, g.constant(np.asarray(0, np.int64))], axis=0)
    if g.opset >= 13:
        first = g.add("Unsqueeze", [first, g.ints([0])])
    else:
        first = g.add("Unsqueeze", [first], axes=[0])
    target = g.add("Concat", [first, g.ints([-1])], axis=0)
    g.add("Reshape", [x, target], exact=True)


@rule(1)
def flatten(g):
    x = g.pick(MOVED)
    g.add("Flatten", [x], exact=True, axis=g.integer(0, x.rank))


@rule(2)
def squeeze(g):
    x = g.pick(ANY, where=lambda value: 1 in value.shape)
    axes = [axis for axis, size in enumerate(x.shape) if size == 1]
    axes = axes[: g.integer(1, len(axes))]
    axes = [axis - x.rank if g.chance(0.3) else axis for axis in axes]
    if g.chance(0.15):
        g.add("Squeeze", [x], exact=True)
    elif g.opset >= 13:
        g.add("Squeeze", [x, g.ints(axes)], exact=True)
    else:
        g.add("Squeeze", [x], exact=True, axes=axes)


@rule(2)
def unsqueeze(g):
    x = g.pick(ANY, high=4)
    axes = sorted({g.integer(0, x.rank) for _ in range(g.integer(1, 2 if x.rank < 4 else 1))})
    if g.opset >= 13:
        g.add("Unsqueeze", [x, g.ints(axes)], exact=True)
    else:
        g.add("Unsqueeze", [x], exact=True, axes=axes)


@rule(4)
def transpose(g):
    x = g.pick(MOVED, low=1)
    order = [int(axis) for axis in g.random.permutation(x.rank)]
    if x.rank > 1 and g.chance(0.5):
        order = [0] + [int(axis) + 1 for axis in g.random.permutation(x.rank - 1)]
    given = {} if g.chance(0.1) else {"perm": order}
    g.add("Transpose", [x], exact=True, **given)


@rule(4)
def concat(g):
    x = g.pick(MOVED, low=1)
    axis = g.axis(x.rank)
    operands = [x]
    for _ in range(g.integer(1, 2)):
        shape = list(x.shape)
        if g.chance(0.5):
            shape[axis] = g.integer(1, 3)
        operands.append(g.like(shape, x.type))
    if g.chance(0.5):
        operands.reverse()
    g.add("Concat", operands, exact=True, axis=axis)


@rule(2)
def split(g):
    x = g.pick(MOVED, low=1)
    axis = g.axis(x.rank)
    size = x.shape[axis]
    first = g.integer(1, max(1, size - 1))
    if size < 2:
        raise Rejected
    if size % 2 == 0 and g.chance(0.3):
        given = {"num_outputs": 2} if g.opset >= 18 else {}
        g.add_all("Split", [x], 2, exact=True, axis=axis, **given)
    elif g.opset >= 13:
        g.add_all("Split", [x, g.ints([first, size - first])], 2, exact=True, axis=axis)
    else:
        g.add_all("Split", [x], 2, exact=True, axis=axis, split=[first, size - first])


@rule(4)
def cut(g):
    x = g.pick(MOVED, low=1)
    axes = sorted({g.integer(0, x.rank - 1) for _ in range(g.integer(1, 2))})
    starts, ends, steps = [], [], []
    for axis in axes:
        size = x.shape[axis]
        start, end = sorted((g.integer(0, size), g.integer(0, size)))
        step = g.choose([1, 1, 1, 2, -1])
        if step < 0:
            start, end = end, start - 1 if start else -2 * size
        elif g.chance(0.3):
            end = 2**63 - 1
        starts.append(start - size if g.chance(0.2) and start < size else start)
        ends.append(end)
        steps.append(step)
    axes = [axis - x.rank if g.chance(0.2) else axis for axis in axes]
    operands = [x, g.ints(starts), g.ints(ends), g.ints(axes)]
    if any(step != 1 for step in steps) or g.chance(0.3):
        operands.append(g.ints(steps))
    g.add("Slice", operands, exact=True)


@rule(3)
def pad(g):
    x = g.pick((np.float32, np.float32, np.float64, np.int64), low=1)
    mode = g.choose(
        ["constant", "constant", "reflect", "edge"] + (["wrap"] if g.opset >= 19 else [])
    )
    low = -1 if mode == "constant" and g.chance(0.2) else 0
    if mode == "reflect" and 1 in x.shape:
        raise Rejected
    pads = [g.integer(low, 2) if g.chance(0.6) else 0 for _ in range(2 * x.rank)]
    if mode in ("reflect", "wrap"):
        pads = [min(p, x.shape[axis % x.rank] - 1) for axis, p in enumerate(pads)]
    if x.type == np.int64 and g.opset < 13:
        raise Rejected
    fill = g.constant(np.asarray(2, x.type)) if mode == "constant" and g.chance(0.5) else None
    g.add("Pad", [x, g.ints(pads)] + ([fill] if fill else []), exact=True, mode=mode)


@rule(2)
def expand(g):
    x = g.pick(MOVED, where=lambda value: 1 in value.shape or value.rank < 4)
    shape = [g.integer(1, 3) if size == 1 else size for size in x.shape]
    if g.chance(0.3):
        shape = [g.integer(1, 2)] + shape
    g.add("Expand", [x, g.ints(shape)], exact=True)


@rule(1)
def tile(g):
    x = g.pick((np.float32, np.int64, np.bool_), low=1)
    g.add("Tile", [x, g.ints([g.integer(1, 2) for _ in x.shape])], exact=True)


@rule(4)
def gather(g):
    x = g.pick(MOVED, low=1)
    axis = g.axis(x.rank)
    size = x.shape[axis]
    shape = g.choose([[], [1], [2], [3], [2, 2]])
    low = -size if g.opset >= 11 else 0
    indices = g.random.integers(low, size, shape).astype(g.choose([np.int64, np.int32]))
    g.add("Gather", [x, g.constant(indices)], exact=True, axis=axis)


@rule(1)
def embed(g):
    indices = g.pick((np.int64, np.int32), where=lambda value: np.abs(value.arrays[0]).max() < 30)
    table = g.weight([30, g.integer(1, 4)])
    g.add("Gather", [table, indices], exact=True, axis=0)


@rule(2)
def gather_elements(g):
    x = g.pick(MOVED, low=1)
    axis = g.axis(x.rank)
    shape = [g.integer(1, size) for size in x.shape]
    indices = g.random.integers(-x.shape[axis], x.shape[axis], shape)
    g.add("GatherElements", [x, g.constant(indices.astype(np.int64))], exact=True, axis=axis)


@rule(1)
def gather_nd(g):
    x = g.pick(MOVED, low=1)
    batches = g.integer(0, min(1, x.rank - 1)) if g.opset >= 12 else 0
    depth = g.integer(1, x.rank - batches)
    shape = x.shape[:batches] + [g.integer(1, 3)]
    indices = np.stack(
        [g.random.integers(-size, size, shape) for size in x.shape[batches : batches + depth]], -1
    )
    given = {"batch_dims": batches} if batches else {}
    g.add("GatherND", [x, g.constant(indices.astype(np.int64))], exact=True, **given)


@rule(2)
def scatter(g):
    x = g.pick((np.float32, np.float32, np.int64), low=1)
    axis = g.axis(x.rank)
    kinds = (
        [None]
        + (["add", "mul"] if g.opset >= 16 else [])
        + (["min", "max"] if g.opset >= 18 else [])
    )
    kind = g.choose(kinds)
    shape = [g.integer(1, size) for size in x.shape]
    # Without a reduction, two writers of one element may come in any order.
    order = g.random.permutation(x.shape[axis])[: shape[axis]]
    wide = [1] * x.rank
    wide[axis] = shape[axis]
    indices = np.broadcast_to(order.reshape(wide), shape)
    if kind and g.chance(0.5):
        indices = g.random.integers(-x.shape[axis], x.shape[axis], shape)
    given = {"reduction": kind} if kind else {}
    g.add(
        "ScatterElements",
        [x, g.constant(indices.astype(np.int64)), g.like(shape, x.type)],
        exact=kind in (None, "min", "max"),
        axis=axis,
        **given
    )


@rule(1)
def scatter_nd(g):
    x = g.pick((np.float32, np.int64), low=1)
    kinds = (
        [None]
        + (["add", "mul"] if g.opset >= 16 else [])
        + (["min", "max"] if g.opset >= 18 else [])
    )
    kind = g.choose(kinds)
    rows = [int(row) for row in g.random.permutation(x.shape[0])[: g.integer(1, 3)]]
    given = {"reduction": kind} if kind else {}
    updates = g.like([len(rows)] + x.shape[1:], x.type)
    g.add(
        "ScatterND",
        [x, g.ints([[row] for row in rows]), updates],
        exact=kind in (None, "min", "max"),
        **given
    )


@rule(1)
def depth(g):
    x = g.pick((np.float32,), low=4, high=4)
    n, c, h, w = x.shape
    if c % 4 == 0 and g.chance(0.7):
        g.add("DepthToSpace", [x], exact=True, blocksize=2, mode=g.choose(["DCR", "CRD"]))
    elif h % 2 == 0 and w % 2 == 0:
        g.add("SpaceToDepth", [x], exact=True, blocksize=2)


@rule(0.5)
def reverse(g):
    x = g.pick((np.float32,), low=2)
    time = g.integer(0, 1)
    lengths = [g.integer(1, x.shape[time]) for _ in range(x.shape[1 - time])]
    g.add("ReverseSequence", [x, g.ints(lengths)], exact=True, time_axis=time, batch_axis=1 - time)


@rule(1)
def sizes(g):
    x = g.pick(ANY)
    if g.chance(0.3):
        g.add("Size", [x])
        return
    given = {}
    if g.opset >= 15 and x.rank > 1 and g.chance(0.4):
        given = {"start": g.integer(-1, 1), "end": g.integer(1, x.rank)}
    g.add("Shape", [x], **given)


@rule(1)
def filled(g):
    shape = g.add("Shape", [g.pick(ANY)])
    fill = helper.make_tensor(
        "value",
        *g.choose(
            [
                (TensorProto.FLOAT, [1], [1.5]),
                (TensorProto.INT64, [1], [3]),
                (TensorProto.BOOL, [1], [1]),
            ]
        )
    )
    g.add("ConstantOfShape", [shape], value=fill)


@rule(0.5)
def counted(g):
    dtype = g.choose([np.int64, np.float32, np.int32])
    start, step = g.integer(-3, 3), g.choose([1, 2, -1])
    ends = [
        g.constant(np.asarray(number, dtype))
        for number in (start, start + step * g.integer(1, 6), step)
    ]
    g.add("Range", ends, exact=True)


@rule(0.5)
def unit(g):
    x = g.pick((np.float32, np.int64), low=2, high=2)
    g.add("EyeLike", [x], k=g.integer(-1, 1))


@rule(0.7)
def triangle(g):
    if g.opset < 14:
        raise Rejected
    x = g.pick((np.float32, np.int64), low=2)
    operands = [x] + ([g.constant(np.asarray(g.integer(-2, 2), np.int64))] if g.chance(0.6) else [])
    g.add("Trilu", operands, exact=True, upper=g.integer(0, 1))


@rule(0.7)
def nonzero(g):
    g.add("NonZero", [g.pick((np.bool_, np.int64, np.float32), low=1)])


@rule(0.7)
def compress(g):
    x = g.pick(MOVED, low=1)
    axis = g.axis(x.rank)
    keep = g.random.integers(0, 2, g.integer(1, x.shape[axis])).astype(bool)
    keep[0] = True
    g.add("Compress", [x, g.constant(keep)], exact=True, axis=axis)


@rule(0.7)
def one_hot(g):
    x = g.pick((np.int64, np.int32), high=3)
    values = g.constant(np.asarray([0, 1], g.choose([np.float32, np.int64])))
    g.add(
        "OneHot",
        [x, g.constant(np.asarray(g.integer(2, 5), np.int64)), values],
        axis=g.integer(-1, x.rank),
    )


@rule(0.5)
def unique(g):
    x = g.pick((np.float32, np.int64), low=1)
    given = {"axis": g.axis(x.rank)} if g.chance(0.5) else {}
    g.add_all("Unique", [x], g.integer(1, 4), exact=True, sorted=1, **given)
