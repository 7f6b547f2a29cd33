"""Rules for 8-bit integers: quantised products and convolutions, and what surrounds real ones."""

import numpy as np

from graphs import Rejected
from layers import FLOAT, follow, window
from rules import rule


def quantized(g, x, dtype=None):
    """A real value in 8 bits, with its scale and zero point."""
    dtype = dtype or g.choose([np.uint8, np.int8])
    scale = g.constant(np.float32(g.random.uniform(0.01, 0.05)))
    zero = g.constant(
        np.asarray(g.integer(-5, 5) if dtype == np.int8 else g.integer(100, 140), dtype)
    )
    return g.add("QuantizeLinear", [x, scale, zero]), scale, zero


def constants(g, shape, dtype):
    return (
        g.weight(shape, dtype, low=-20, high=20),
        g.constant(np.float32(g.random.uniform(0.01, 0.03))),
        g.constant(np.asarray(0 if dtype == np.int8 else 9, dtype)),
    )


@rule(2)
def quantize(g):
    x = g.pick(FLOAT, low=1)
    y, scale, zero = quantized(g, x)
    if g.chance(0.8):
        g.add("DequantizeLinear", [y, scale, zero])


@rule(1)
def quantize_by_channel(g):
    x = g.pick(FLOAT, low=2)
    if g.opset < 13:
        raise Rejected
    axis = g.axis(x.rank)
    scale = g.weight([x.shape[axis]], low=0.01, high=0.1)
    zero = g.weight([x.shape[axis]], np.uint8, low=10, high=30)
    y = g.add("QuantizeLinear", [x, scale, zero], axis=axis)
    g.add("DequantizeLinear", [y, scale, zero], axis=axis)


@rule(2)
def quantized_product(g):
    x = g.pick(FLOAT, low=2, high=3)
    y, scale, zero = quantized(g, x)
    w, w_scale, w_zero = constants(g, [x.shape[-1], g.integer(1, 4)], g.choose([np.int8, np.uint8]))
    if zero.type == np.int8 and w.type == np.uint8:
        raise Rejected
    kind = g.integer(0, 2)
    if kind == 0:
        g.add("MatMulInteger", [y, w, zero, w_zero])
    elif kind == 1:
        out = g.constant(np.float32(0.1)), g.constant(np.asarray(3, zero.type))
        g.add("QLinearMatMul", [y, scale, zero, w, w_scale, w_zero, *out])
    else:
        a = g.add("DequantizeLinear", [y, scale, zero])
        b = g.add("DequantizeLinear", [w, w_scale, w_zero])
        z = g.add("MatMul", [a, b])
        if g.chance(0.5):
            quantized(g, z)


@rule(2)
def quantized_conv(g):
    x = g.pick(FLOAT, low=4, high=4)
    y, scale, zero = quantized(g, x, np.uint8)
    outputs = g.integer(1, 4)
    given = window(g, x.shape[2:])
    w, w_scale, w_zero = constants(
        g, [outputs, x.shape[1]] + given["kernel_shape"], g.choose([np.int8, np.uint8])
    )
    kind = g.integer(0, 2)
    if kind == 0:
        g.add("ConvInteger", [y, w, zero, w_zero], **given)
    elif kind == 1:
        operands = [
            y,
            scale,
            zero,
            w,
            w_scale,
            w_zero,
            g.constant(np.float32(0.1)),
            g.constant(np.uint8(120)),
        ]
        if g.chance(0.5):
            operands.append(g.weight([outputs], np.int32))
        g.add("QLinearConv", operands, **given)
    else:
        a = g.add("DequantizeLinear", [y, scale, zero])
        b = g.add("DequantizeLinear", [w, w_scale, w_zero])
        z = follow(g, g.add("Conv", [a, b], **given))
        if g.chance(0.5):
            quantized(g, z)


@rule(0.7)
def quantize_dynamically(g):
    g.add_all("DynamicQuantizeLinear", [g.pick(FLOAT, low=1)], 3)


def real(g, y, scale, zero):
    return g.add("DequantizeLinear", [y, scale, zero])


def quantized_again(g, z):
    """In a step that holds the values, and what it stands for."""
    largest = float(max(np.abs(array).max() for array in z.arrays)) or 1.0
    dtype = g.choose([np.uint8, np.int8])
    scale = g.constant(np.float32(largest * g.random.uniform(0.7, 1.2) / 120))
    zero = g.integer(-9, 9) if dtype == np.int8 else g.integer(115, 140)
    zero = g.constant(np.asarray(zero, dtype))
    return g.add("QuantizeLinear", [z, scale, zero]), scale, zero


@rule(2)
def quantized_layers(g):
    """A convolution with scales for each channel, and what quantising tools let follow it."""
    x = g.pick(FLOAT, low=3, high=5)
    if g.opset < 13:
        raise Rejected
    a = real(g, *quantized(g, x))
    channels, outputs = x.shape[1], g.choose([1, 3, 4, 8, 16, 20])
    groups = g.choose([size for size in (1, 2, 4, channels) if channels % size == 0])
    outputs = max(groups, outputs // groups * groups)
    given = window(g, x.shape[2:])
    shape = [outputs, channels // groups] + given["kernel_shape"]
    dtype = g.choose([np.int8, np.int8, np.uint8])
    w = g.weight(shape, dtype, low=-100 if dtype == np.int8 else 0, high=100)
    scales = g.weight([outputs], low=0.002, high=0.02)
    zeros = g.weight([outputs], dtype, low=0, high=1 if dtype == np.int8 else 90)
    operands = [a, g.add("DequantizeLinear", [w, scales, zeros], axis=0)]
    if g.chance(0.6):
        operands.append(g.weight([outputs]))
    y = g.add("Conv", operands, group=groups, **given)
    for _ in range(g.integer(1, 3)):
        kind = g.integer(0, 7)
        if kind == 0:
            y = g.add("Relu", [y])
        elif kind == 1:
            y = g.add(g.choose(["Sigmoid", "Tanh", "LeakyRelu", "HardSwish"]), [y])
        elif kind == 2 and y.rank > 2:
            y = g.add("GlobalAveragePool", [y])
        elif kind == 3:
            z = real(g, *quantized_again(g, y))
            y = g.add(g.choose(["Add", "Mul"]), [z, real(g, *quantized_again(g, z))])
        elif kind == 4:
            z = real(g, *quantized_again(g, y))
            y = g.add("Concat", [z, real(g, *quantized_again(g, z))], axis=1)
        elif kind == 5 and y.rank > 2:
            y = g.add("MaxPool", [y], kernel_shape=[1] * (y.rank - 2))
        else:
            y = g.add("Flatten", [y])
            break
        y = real(g, *quantized_again(g, y))


@rule(1)
def quantized_rows(g):
    """A product with transposed weights, and one with weights for activations as they come."""
    x = g.pick(FLOAT, low=2, high=3)
    columns = g.integer(1, 20)
    if g.chance(0.5) and x.rank == 2 and g.opset >= 13:
        w = g.weight([columns, x.shape[-1]], np.int8, low=-100, high=100)
        scales = g.weight([columns], low=0.002, high=0.02)
        zeros = g.constant(np.zeros([columns], np.int8))
        w = g.add("DequantizeLinear", [w, scales, zeros], axis=0)
        y = g.add("Gemm", [real(g, *quantized(g, x)), w, g.weight([columns])], transB=1)
        quantized_again(g, y)
        return
    steps, scale, zero = g.add_all("DynamicQuantizeLinear", [x], 3)
    dtype = g.choose([np.int8, np.uint8])
    w, w_scale, w_zero = constants(g, [x.shape[-1], columns], dtype)
    sums = g.add("MatMulInteger", [steps, w, zero, w_zero])
    y = g.add("Mul", [g.add("Cast", [sums], to=1), g.add("Mul", [scale, w_scale])])
    if g.chance(0.5):
        g.add("Add", [y, g.weight([columns])])
