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
