"""Rules for the operators of networks, and for the patterns that compilers fuse."""

import math

import numpy as np

from graphs import REALS, Rejected
from rules import rule

FLOAT = (np.float32,)


def is_image(value):
    return value.rank == 4


def weight(g, shape):
    """Weights under which values keep their size."""
    bound = 1.5 / math.sqrt(max(1, math.prod(shape[1:])))
    return g.weight(shape, low=-bound, high=bound)


def window(g, spatial, largest=3):
    """Attributes of a window that fits."""
    kernel = [g.integer(1, min(largest, size)) for size in spatial]
    given = {"kernel_shape": kernel}
    if g.chance(0.6):
        given["strides"] = [g.integer(1, 2) for _ in spatial]
    if g.chance(0.2):
        given["auto_pad"] = g.choose(["SAME_UPPER", "SAME_LOWER", "VALID"])
    elif g.chance(0.6):
        given["pads"] = [g.integer(0, size - 1) for size in kernel + kernel]
    return given


@rule(8)
def conv(g):
    x = g.pick(FLOAT, low=3)
    channels, spatial = x.shape[1], x.shape[2:]
    groups = g.choose([d for d in range(1, channels + 1) if channels % d == 0])
    groups = groups if g.chance(0.4) else 1
    outputs = groups * g.integer(1, 4)
    given = window(g, spatial)
    if g.chance(0.2):
        given["dilations"] = [g.integer(1, 2) for _ in spatial]
    operands = [x, weight(g, [outputs, channels // groups] + given["kernel_shape"])]
    if g.chance(0.2):
        del given["kernel_shape"]
    if g.chance(0.7):
        operands.append(g.weight([outputs]))
    y = g.add("Conv", operands, group=groups, **given)
    follow(g, y)


def follow(g, y):
    """What often comes after a convolution or a product, so that it is fused."""
    if y.rank > 1 and g.chance(0.3):
        count = [y.shape[1]]
        y = g.add(
            "BatchNormalization",
            [
                y,
                g.weight(count),
                g.weight(count),
                g.weight(count),
                g.weight(count, low=0.5, high=2.0),
            ],
        )
    if g.chance(0.3):
        same = [v for v in g.values if v.shape == y.shape and v.type == y.type and v is not y]
        if same:
            other = g.choose(same)
            y = g.add("Add", [y, other] if g.chance(0.5) else [other, y])
    kind = g.integer(0, 8)
    if kind == 0:
        y = g.add("Relu", [y])
    elif kind == 1:
        s = g.add("Sigmoid", [y])
        y = g.add("Mul", [y, s] if g.chance(0.5) else [s, y])
    elif kind == 2:
        y = g.add("Clip", [y, g.constant(np.float32(0)), g.constant(np.float32(6))])
    elif kind == 3:
        y = g.add(g.choose(["Sigmoid", "Tanh", "LeakyRelu", "Elu", "Softplus"]), [y])
    elif kind == 4 and g.opset >= 14:
        y = g.add("HardSwish", [y])
    elif kind == 5:
        y = g.add("HardSigmoid", [y], alpha=g.choose([0.2, 1 / 6, 0.4]), beta=0.5)
    if g.chance(0.2):
        # One number, as learnt scales after activations are.
        y = g.add("Mul", [y, g.constant(np.float32(g.random.uniform(-2, 2)))])
        if g.chance(0.6):
            y = g.add("Add", [g.constant(np.float32(g.random.uniform(-1, 1))), y])
    return y


@rule(3)
def conv_transpose(g):
    x = g.pick(FLOAT, low=3)
    channels, spatial = x.shape[1], x.shape[2:]
    groups = (
        g.choose([d for d in range(1, channels + 1) if channels % d == 0]) if g.chance(0.3) else 1
    )
    kernel = [g.integer(1, 3) for _ in spatial]
    outputs = g.integer(1, 3)
    strides = [g.integer(1, 2) for _ in spatial]
    given = {"strides": strides, "group": groups}
    if g.chance(0.3):
        # Windows that do not overlap.
        outputs, given["strides"] = g.integer(1, 20), kernel
    elif g.chance(0.5):
        given["pads"] = [g.integer(0, size // 2) for size in kernel + kernel]
    if "pads" in given and g.chance(0.5):
        given["output_padding"] = [g.integer(0, stride - 1) for stride in strides]
    if g.chance(0.2):
        given["dilations"] = [g.integer(1, 2) for _ in spatial]
    operands = [x, weight(g, [channels, outputs] + kernel)]
    if g.chance(0.6):
        operands.append(g.weight([outputs * groups]))
    follow(g, g.add("ConvTranspose", operands, **given))


@rule(4)
def pool(g):
    x = g.pick(FLOAT, low=3)
    given = window(g, x.shape[2:])
    name = g.choose(["MaxPool", "AveragePool", "MaxPool", "AveragePool", "LpPool"])
    if name != "LpPool" and g.chance(0.3) and "auto_pad" not in given:
        given["ceil_mode"] = 1
    if name == "AveragePool" and g.chance(0.3):
        given["count_include_pad"] = 1
    if name == "LpPool":
        given["p"] = g.integer(1, 3)
    # onnxruntime leaves dilations out of what SAME means for pools.
    if name == "MaxPool" and "auto_pad" not in given and g.chance(0.2):
        given["dilations"] = [
            2 if 2 * size - 1 <= whole and g.chance(0.5) else 1
            for size, whole in zip(given["kernel_shape"], x.shape[2:])
        ]
    if name == "MaxPool" and g.chance(0.2):
        g.add_all(name, [x], 2, exact=True, **given)
    else:
        g.add(name, [x], exact=name == "MaxPool", **given)


@rule(2)
def global_pool(g):
    x = g.pick(FLOAT, low=3)
    name = g.choose(["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
    given = {"p": g.integer(1, 3)} if name == "GlobalLpPool" else {}
    g.add(name, [x], **given)


@rule(2)
def batch_norm(g):
    x = g.pick(FLOAT, low=2)
    count = [x.shape[1]]
    given = {"epsilon": 0.01} if g.chance(0.4) else {}
    g.add(
        "BatchNormalization",
        [x, g.weight(count), g.weight(count), g.weight(count), g.weight(count, low=0.5, high=2.0)],
        **given,
    )


@rule(2)
def other_norms(g):
    x = g.pick(FLOAT, low=3)
    channels = x.shape[1]
    kind = g.integer(0, 3)
    if kind == 0:
        g.add(
            "InstanceNormalization", [x, g.weight([channels]), g.weight([channels])], epsilon=0.05
        )
    elif kind == 1:
        g.add("LRN", [x], size=g.integer(1, 4), alpha=0.2, beta=0.6, bias=1.0)
    elif kind == 2 and g.opset >= 21:
        groups = g.choose([d for d in range(1, channels + 1) if channels % d == 0])
        g.add(
            "GroupNormalization",
            [x, g.weight([channels]), g.weight([channels])],
            num_groups=groups,
            epsilon=0.05,
        )
    elif g.opset >= 17:
        axis = g.integer(1, x.rank - 1)
        operands = [x, g.weight(x.shape[axis:])]
        if g.chance(0.7):
            operands.append(g.weight(x.shape[axis:]))
        g.add(
            "LayerNormalization",
            operands,
            axis=axis - x.rank if g.chance(0.5) else axis,
            epsilon=0.05,
        )


@rule(2)
def layer_norm_spelled_out(g):
    x = g.pick(FLOAT, low=2)
    size = x.shape[-1]
    axes = lambda name, y: (
        g.add(name, [y, g.ints([-1])], keepdims=1)
        if g.opset >= 18
        else g.add(name, [y], axes=[-1], keepdims=1)
    )
    centred = g.add("Sub", [x, axes("ReduceMean", x)])
    square = (
        g.add("Pow", [centred, g.constant(np.float32(2))])
        if g.chance(0.7)
        else g.add("Mul", [centred, centred])
    )
    spread = g.add(
        "Sqrt", [g.add("Add", [axes("ReduceMean", square), g.constant(np.float32(0.05))])]
    )
    y = g.add("Div", [centred, spread])
    y = g.add("Mul", [y, g.weight([size])])
    g.add("Add", [y, g.weight([size])] if g.chance(0.7) else [g.weight([size]), y])


@rule(2)
def gelu_spelled_out(g):
    x = g.pick(FLOAT)
    y = g.add("Erf", [g.add("Div", [x, g.constant(np.float32(math.sqrt(2)))])])
    y = g.add("Add", [y, g.constant(np.float32(1))])
    if g.chance(0.5):
        g.add("Mul", [g.add("Mul", [x, y]), g.constant(np.float32(0.5))])
    else:
        g.add("Mul", [g.add("Mul", [x, g.constant(np.float32(0.5))]), y])


@rule(5)
def gemm(g):
    x = g.pick(REALS, low=2, high=2)
    rows, inner = x.shape
    given = {}
    if g.chance(0.2):
        rows, inner, given["transA"] = inner, rows, 1
    columns = g.integer(1, 5)
    shape = [inner, columns]
    if g.chance(0.5):
        shape, given["transB"] = [columns, inner], 1
    if g.chance(0.3):
        given |= {"alpha": 0.5, "beta": 1.5}
    operands = [x, g.weight(shape, x.type)]
    if g.chance(0.7):
        bias = g.choose([[columns], [1, columns], [rows, 1], [rows, columns], [1], []])
        operands.append(g.weight(bias, x.type))
    (
        follow(g, g.add("Gemm", operands, **given))
        if x.type == np.float32
        else g.add("Gemm", operands, **given)
    )


@rule(5)
def matmul(g):
    x = g.pick(FLOAT + FLOAT + (np.float64, np.int32), low=1)
    inner = x.shape[-1]
    shape = g.choose([[inner, g.integer(1, 5)], [inner], x.shape[:-2] + [inner, g.integer(1, 3)]])
    y = g.like(shape, x.type)
    z = g.add("MatMul", [x, y])
    if g.chance(0.4) and z.rank and x.type == np.float32:
        z = g.add("Add", [z, g.weight([z.shape[-1]])])
        if g.chance(0.5):
            g.add(g.choose(["Relu", "Tanh", "Sigmoid"]), [z])


@rule(3)
def attention(g):
    x = g.pick(FLOAT, low=3, high=3)
    batch, time, width = x.shape
    heads = g.integer(1, 2)
    size = g.integer(1, 3)
    parts = []
    for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        y = g.add("MatMul", [x, weight(g, [width, heads * size])])
        y = g.add(
            "Reshape",
            [y, g.ints([0, -1, heads, size] if g.chance(0.5) else [batch, time, heads, size])],
        )
        parts.append(g.add("Transpose", [y], perm=order))
    scores = g.add("MatMul", parts[:2])
    scale = g.constant(np.float32(math.sqrt(size)))
    if g.chance(0.8):
        scores = g.add("Div", [scores, scale])
    if g.chance(0.3):
        scores = g.add(
            "Add", [scores, g.weight([1, 1, time, time] if g.chance(0.5) else [time, time])]
        )
    y = g.add("MatMul", [g.add("Softmax", [scores], axis=-1), parts[2]])
    y = g.add("Transpose", [y], perm=[0, 2, 1, 3])
    g.add("Reshape", [y, g.ints([0, 0, heads * size])])


@rule(1)
def einsum(g):
    if g.opset < 12:
        raise Rejected
    x = g.pick(FLOAT, low=2, high=4)
    letters = "bcijk"[: x.rank]
    kind = g.integer(0, 3)
    if kind == 0:
        g.add(
            "Einsum",
            [x, weight(g, [x.shape[-1], 3])],
            equation=f"{letters},{letters[-1]}z->{letters[:-1]}z",
        )
    elif kind == 1:
        order = "".join(letters[int(i)] for i in g.random.permutation(x.rank))
        g.add("Einsum", [x], equation=f"{letters}->{order[: g.integer(1, x.rank)]}")
    elif kind == 2:
        g.add(
            "Einsum",
            [x, g.like(x.shape, np.float32)],
            equation=f"{letters},{letters}->{letters[0]}",
        )
    else:
        g.add("Einsum", [x, weight(g, [2, x.shape[-1]])], equation="...i,ji->...j")


MODES = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]


def near_tie(mode, size, scale, output):
    """Whether rounding a coordinate decides which input is nearest."""
    for place in range(output):
        x = (place + 0.5) / scale - 0.5
        if mode == "asymmetric":
            x = place / scale
        elif mode == "align_corners":
            x = place * (size - 1) / max(1, output - 1)
        if abs(2 * x - round(2 * x)) < 1e-4:
            return True
    return False


@rule(3)
def resize(g):
    x = g.pick(FLOAT, low=4, high=4)
    mode = g.choose(["nearest", "linear", "cubic", "nearest"])
    given = {"mode": mode, "coordinate_transformation_mode": g.choose(MODES)}
    if mode == "nearest":
        given["nearest_mode"] = g.choose(
            ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]
        )
    if mode == "cubic" and g.chance(0.5):
        given |= {"cubic_coeff_a": -0.5, "exclude_outside": g.integer(0, 1)}
    if mode != "nearest" and g.opset >= 18 and g.chance(0.2):
        given["antialias"] = 1
    height, width = x.shape[2:]
    if g.chance(0.5):
        scales = [1, 1, g.choose([0.5, 1, 1.5, 2, 3]), g.choose([0.5, 1, 2])]
        # ONNX's own tests take the length as it was before rounding down, onnxruntime after.
        if "align" in given["coordinate_transformation_mode"] and not all(
            float(size * scale).is_integer() for size, scale in zip(x.shape[2:], scales[2:])
        ):
            raise Rejected
        operands = [x, None, g.constant(np.asarray(scales, np.float32))]
    else:
        sizes = x.shape[:2] + [g.integer(1, 2 * height), g.integer(1, 2 * width)]
        scales = [new / old for new, old in zip(sizes, x.shape)]
        operands = [x, None, None, g.ints(sizes)]
    exact = all(math.log2(scale).is_integer() for scale in scales)
    if (
        mode == "nearest"
        and not exact
        and any(
            near_tie(given["coordinate_transformation_mode"], size, scale, int(size * scale + 1e-6))
            for size, scale in zip(x.shape[2:], scales[2:])
        )
    ):
        raise Rejected
    if g.opset < 13 and operands[2] is None:
        operands[2] = g.constant(np.zeros([0], np.float32))
    if g.opset < 13:
        operands[1] = g.constant(np.zeros([0], np.float32))
    g.add("Resize", operands, exact=mode == "nearest", **given)


@rule(1)
def grid(g):
    if g.opset < 16:
        raise Rejected
    x = g.pick(FLOAT, low=4, high=4)
    places = g.like(
        [x.shape[0], g.integer(1, 4), g.integer(1, 4), 2], np.float32, low=-1.2, high=1.2
    )
    linear = "bilinear" if g.opset < 20 else "linear"
    g.add(
        "GridSample",
        [x, places],
        align_corners=g.integer(0, 1),
        mode=g.choose([linear, "nearest"]),
        padding_mode=g.choose(["zeros", "border", "reflection"]),
    )


@rule(3)
def recurrent(g):
    x = g.pick(FLOAT, low=3, high=3)
    time, batch, width = x.shape
    name = g.choose(["LSTM", "GRU", "RNN"])
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[name]
    direction = g.choose(["forward", "reverse", "bidirectional"])
    ways, hidden = (2 if direction == "bidirectional" else 1), g.integer(1, 4)
    given = {"hidden_size": hidden, "direction": direction}
    operands = [
        x,
        weight(g, [ways, gates * hidden, width]),
        weight(g, [ways, gates * hidden, hidden]),
    ]
    operands.append(g.weight([ways, 2 * gates * hidden]) if g.chance(0.7) else None)
    operands.append(
        g.constant(np.asarray([g.integer(1, time) for _ in range(batch)], np.int32))
        if g.chance(0.3)
        else None
    )
    if g.chance(0.4):
        operands.append(g.weight([ways, batch, hidden]))
        if name == "LSTM":
            operands.append(g.weight([ways, batch, hidden]))
            if g.chance(0.5):
                operands.append(g.weight([ways, 3 * hidden]))
    if name == "GRU" and g.chance(0.5):
        given["linear_before_reset"] = 1
    g.add_all(name, operands, g.integer(1, 3 if name == "LSTM" else 2), **given)
