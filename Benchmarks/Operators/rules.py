"""How each operator joins a random graph: which operands it takes and which attributes.

A rule is a function of the graph; its weight says how often it is drawn.
"""

import numpy as np
from onnx import TensorProto, helper

from graphs import ANY, FLOATS, INTEGERS, NUMBERS, REALS, SIGNED, Rejected

RULES, WEIGHTS = [], []
CAST_TARGETS = [
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.BOOL,
    TensorProto.FLOAT16,
]


def rule(weight=1.0):
    def keep(function):
        RULES.append(function)
        WEIGHTS.append(weight)
        return function

    return keep


# Element by element

SMOOTH = [
    "Sigmoid",
    "Tanh",
    "Exp",
    "Log",
    "Sqrt",
    "Reciprocal",
    "Erf",
    "Softplus",
    "Softsign",
    "Sin",
    "Cos",
    "Tan",
    "Atan",
    "Sinh",
    "Cosh",
    "Asin",
    "Acos",
    "Asinh",
    "Acosh",
    "Atanh",
]
STEPS = ["Abs", "Neg", "Relu", "Floor", "Ceil", "Round", "Sign", "Identity"]
SHAPED = {
    "Elu": {"alpha": (0.1, 2)},
    "Selu": {"alpha": (0.5, 2), "gamma": (0.5, 2)},
    "Celu": {"alpha": (0.3, 2)},
    "LeakyRelu": {"alpha": (0, 1)},
    "ThresholdedRelu": {"alpha": (-1, 1)},
    "HardSigmoid": {"alpha": (0.1, 1), "beta": (0, 1)},
    "Shrink": {"lambd": (0.1, 1), "bias": (0, 1)},
    "HardSwish": {},
    "Mish": {},
    "Gelu": {},
}
FROM_OPSET = {"HardSwish": 14, "Mish": 18, "Gelu": 20}


@rule(5)
def unary(g):
    if g.chance(0.5):
        g.add(g.choose(SMOOTH), [g.pick()])
    else:
        g.add(g.choose(STEPS), [g.pick(SIGNED)], exact=True)


@rule(4)
def activation(g):
    name = g.choose(list(SHAPED))
    if g.opset < FROM_OPSET.get(name, 0):
        raise Rejected
    given = {key: g.random.uniform(*span) for key, span in SHAPED[name].items() if g.chance(0.7)}
    if name == "Gelu" and g.chance(0.5):
        given["approximate"] = "tanh"
    g.add(name, [g.pick((np.float32,))], **given)


@rule(2)
def clip(g):
    x = g.pick(SIGNED)
    if g.opset < 12 and x.type != np.float32:
        raise Rejected
    low = g.constant(np.asarray(-1, x.type)) if g.chance(0.7) else None
    high = g.constant(np.asarray(g.integer(0, 2), x.type)) if g.chance(0.7) else None
    g.add("Clip", [x, low, high], exact=True)


@rule(1)
def prelu(g):
    x = g.pick((np.float32,), low=1)
    shape = g.choose(
        [[1], [x.shape[-1]], x.shape, [x.shape[1]] + [1] * (x.rank - 2) if x.rank > 1 else [1]]
    )
    g.add("PRelu", [x, g.weight(shape)])


@rule(7)
def arithmetic(g):
    name = g.choose(["Add", "Sub", "Mul", "Div"])
    x = g.pick(SIGNED if g.opset < 14 else NUMBERS)
    bounds = {"low": 0.5, "high": 2.0} if name == "Div" else {}
    y = g.broadcastable(x, **bounds)
    if name == "Div" and x.type not in FLOATS:
        bounds["low"], y = 1, g.broadcastable(x, low=1)
    operands = [x, y] if g.chance(0.6) or name == "Div" else [y, x]
    g.add(name, operands)


@rule(2)
def several(g):
    name = g.choose(["Min", "Max", "Sum", "Mean"])
    x = g.pick(REALS if name in ("Sum", "Mean") or g.opset < 12 else SIGNED)
    g.add(name, [x] + [g.broadcastable(x) for _ in range(g.integer(0, 2))])


@rule(1)
def power(g):
    x = g.pick()
    exponent = g.choose([2.0, 3.0, 0.5, 1.0, -1.0, 0.0])
    g.add("Pow", [x, g.constant(np.asarray(exponent, x.type))])


@rule(1)
def modulo(g):
    x = g.pick(SIGNED)
    if x.type in FLOATS:
        g.add("Mod", [x, g.broadcastable(x, low=0.5, high=2)], fmod=1)
    else:
        divisor = g.broadcastable(x, low=1)
        g.add("Mod", [x, divisor], fmod=g.integer(0, 1))


@rule(3)
def compare(g):
    names = ["Less", "Greater", "Equal"]
    if g.opset >= 12:
        names += ["LessOrEqual", "GreaterOrEqual"]
    name = g.choose(names)
    x = g.pick(SIGNED + ((np.bool_,) if name == "Equal" else ()))
    g.add(name, [x, g.broadcastable(x)])


@rule(2)
def logic(g):
    x = g.pick((np.bool_,))
    if g.chance(0.3):
        g.add("Not", [x])
    else:
        g.add(g.choose(["And", "Or", "Xor"]), [x, g.broadcastable(x)])


@rule(1)
def bits(g):
    if g.opset < 18:
        raise Rejected
    x = g.pick(INTEGERS)
    if g.chance(0.3):
        g.add("BitwiseNot", [x])
    else:
        g.add(g.choose(["BitwiseAnd", "BitwiseOr", "BitwiseXor"]), [x, g.broadcastable(x)])


@rule(1)
def shift(g):
    x = g.pick((np.uint8,))
    g.add(
        "BitShift",
        [x, g.like(x.shape, np.uint8, low=0, high=1)],
        direction=g.choose(["LEFT", "RIGHT"]),
    )


@rule(2)
def where(g):
    condition = g.pick((np.bool_,))
    x = g.like(condition.shape, g.choose([np.float32, np.int64, np.float64]))
    g.add("Where", [condition, x, g.broadcastable(x)], exact=True)


@rule(1)
def question(g):
    g.add(g.choose(["IsNaN", "IsInf"]), [g.pick((np.float32,))])


@rule(3)
def cast(g):
    x = g.pick(ANY)
    to = g.choose(CAST_TARGETS)
    exact = to not in (TensorProto.FLOAT16,)
    if g.opset >= 15 and g.chance(0.3):
        like = g.weight([1], helper.tensor_dtype_to_np_dtype(to))
        g.add("CastLike", [x, like], exact=exact)
    else:
        g.add("Cast", [x], exact=exact, to=to)


@rule(1)
def dropout(g):
    g.add("Dropout", [g.pick((np.float32,))], exact=True)


# Along axes

REDUCTIONS = [
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
]


@rule(5)
def reduction(g):
    name = g.choose(REDUCTIONS)
    # What logarithms, roots and overflows of integers are is left open.
    whole = name in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")
    x = g.pick(
        (np.float32, np.float32, np.float64) + ((np.int32, np.int64) if whole else ()), low=1
    )
    if x.type not in FLOATS and name == "ReduceProd" and np.abs(x.arrays).max() > 2:
        raise Rejected
    count = g.integer(1, x.rank)
    axes = [int(axis) for axis in g.random.permutation(x.rank)[:count]]
    axes = [axis - x.rank if g.chance(0.3) else axis for axis in axes]
    keep = {"keepdims": g.integer(0, 1)} if g.chance(0.8) else {}
    as_input = g.opset >= (13 if name == "ReduceSum" else 18)
    if g.chance(0.1):
        if as_input and g.chance(0.3):
            keep["noop_with_empty_axes"] = 1
        g.add(name, [x], **keep)
    elif as_input:
        g.add(name, [x, g.ints(axes)], **keep)
    else:
        g.add(name, [x], axes=axes, **keep)


@rule(2)
def argument(g):
    x = g.pick((np.float32, np.int32), low=1)
    given = {"axis": g.axis(x.rank), "keepdims": g.integer(0, 1)}
    if g.opset >= 12 and g.chance(0.4):
        given["select_last_index"] = 1
    g.add(g.choose(["ArgMax", "ArgMin"]), [x], **given)


@rule(3)
def softmax(g):
    x = g.pick(low=1)
    name = g.choose(["Softmax", "LogSoftmax", "Softmax", "Hardmax"])
    given = {"axis": g.axis(x.rank)} if g.chance(0.8) else {}
    g.add(name, [x], **given)


@rule(1)
def cumulative(g):
    x = g.pick(SIGNED, low=1)
    axis = g.constant(np.asarray(g.axis(x.rank), g.choose([np.int64, np.int32])))
    g.add("CumSum", [x, axis], exclusive=g.integer(0, 1), reverse=g.integer(0, 1))


@rule(2)
def top(g):
    x = g.pick((np.float32, np.int64), low=1)
    axis = g.axis(x.rank)
    k = g.integer(1, x.shape[axis])
    g.add_all("TopK", [x, g.ints([k])], 2, exact=True, axis=axis, largest=g.integer(0, 1), sorted=1)


@rule(1)
def norm(g):
    x = g.pick((np.float32,), low=1)
    g.add("LpNormalization", [x], axis=g.axis(x.rank), p=g.integer(1, 2))


@rule(0.5)
def mean_variance(g):
    g.add("MeanVarianceNormalization", [g.pick((np.float32,), low=4, high=4)])
