#!/usr/bin/env python3
"""Quantised networks on the CPU engine beside onnxruntime: answers first, then times.

    python3 Benchmarks/Engine/int8.py --stowage PATH --work FOLDER [--check] [--names ...]
        [--threads 1 2] [--batches 1 4 16] [--repeat 3] [--resume]

FOLDER keeps ResNet-50 with seeded random weights (as engine.py writes it) and what
onnxruntime.quantization makes of it: QDQ and QOperator, activations UINT8 and INT8, weights INT8
with a scale for each channel or one for all, calibrated on four random images; and a perceptron and
a transformer block with weights quantised dynamically, and a small convolution network with UINT8
weights whose zero points are not 128. With --check answers are compared, else times are taken, in
turns as in engine.py. Results go to Benchmarks/Results/int8.md and int8-check.md.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnxruntime import quantization

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import engine  # noqa: E402

RESULTS = HERE.parent / "Results"


class Images(quantization.CalibrationDataReader):
    """Four random images."""

    def __init__(self, name, shape):
        self.name, self.shape, self.left = name, shape, 4
        self.random = np.random.default_rng(1)

    def get_next(self):
        if self.left == 0:
            return None
        self.left -= 1
        return {self.name: self.random.random(self.shape, np.float32)}


class Maker:
    """A graph in the making, with seeded weights."""

    def __init__(self, shape):
        self.random = np.random.default_rng(5)
        self.nodes, self.weights, self.shape = [], [], shape

    def weight(self, *shape, scale=None):
        scale = scale or 1 / np.sqrt(np.prod(shape[1:]) if len(shape) == 4 else shape[0])
        array = (self.random.standard_normal(shape) * scale).astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def constant(self, array):
        self.weights.append(numpy_helper.from_array(np.asarray(array), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def add(self, kind, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def dense(self, x, inputs, outputs):
        product = self.add("MatMul", x, self.weight(inputs, outputs))
        return self.add("Add", product, self.weight(outputs, scale=0.1))

    def save(self, path, result):
        graph = helper.make_graph(
            self.nodes, "made", [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.save(onnx.shape_inference.infer_shapes(model), path)


def perceptron(path):
    g = Maker(["N", 1024])
    x = "x"
    for inputs, outputs in ((1024, 4096), (4096, 4096), (4096, 1024)):
        x = g.add("Relu", g.dense(x, inputs, outputs))
    g.save(path, x)


def transformer(path, width=512, heads=8, length=128):
    """A block of a transformer encoder: attention and a perceptron, each with normalisation."""
    g = Maker(["N", length, width])
    split = g.constant(np.array([0, length, heads, width // heads], np.int64))
    whole = g.constant(np.array([0, length, width], np.int64))

    def normalized(x):
        return g.add("LayerNormalization", x, g.weight(width, scale=1), g.weight(width, scale=0.1))

    def part(order):
        value = g.add("Reshape", g.dense("x", width, width), split)
        return g.add("Transpose", value, perm=order)

    query, key, value = part([0, 2, 1, 3]), part([0, 2, 3, 1]), part([0, 2, 1, 3])
    scale = g.constant(np.float32((width / heads) ** -0.5))
    scores = g.add("Mul", g.add("MatMul", query, key), scale)
    mixed = g.add("MatMul", g.add("Softmax", scores, axis=-1), value)
    mixed = g.add("Reshape", g.add("Transpose", mixed, perm=[0, 2, 1, 3]), whole)
    x = normalized(g.add("Add", "x", g.dense(mixed, width, width)))
    y = g.dense(g.add("Relu", g.dense(x, width, 4 * width)), 4 * width, width)
    g.save(path, normalized(g.add("Add", x, y)))


def convolutions(path):
    """What ResNet-50 has not: groups, one channel each, other activations, Concat."""
    g = Maker(["N", 3, 64, 64])

    def conv(x, inputs, outputs, kernel, groups=1, stride=1):
        return g.add(
            "Conv", x, g.weight(outputs, inputs // groups, kernel, kernel),
            g.weight(outputs, scale=0.1), group=groups, strides=[stride] * 2,
            pads=[kernel // 2] * 4)

    x = g.add("Relu", conv("x", 3, 32, 3, stride=2))
    y = g.add("Clip", conv(x, 32, 32, 3, groups=32), g.constant(np.float32(0)),
              g.constant(np.float32(6)))
    z = g.add("Sigmoid", conv(y, 32, 32, 1))
    z = g.add("Mul", z, x)
    joined = g.add("Concat", z, g.add("LeakyRelu", conv(y, 32, 20, 3, groups=4), alpha=0.1), axis=1)
    x = g.add("Relu", conv(joined, 52, 64, 3, stride=2))
    x = g.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.add("Flatten", g.add("GlobalAveragePool", x))
    g.save(path, g.dense(x, 64, 10))


def static(source, path, form, activation, weight, per_channel, shape):
    name = onnx.load(source).graph.input[0].name
    quantization.quantize_static(
        str(source), str(path), Images(name, shape), quant_format=form, per_channel=per_channel,
        activation_type=activation, weight_type=weight)


def prepare(work):
    """Writes what is missing; returns name, real network, quantised one and inputs."""
    engine.randomize.write_all(work, ["resnet50"])
    form, kind = quantization.QuantFormat, quantization.QuantType
    real = work / "resnet50-13.onnx"
    if not real.exists():
        model = onnx.load(work / "resnet50.onnx")
        for node in model.graph.node:
            # A sum of two is quantised only if it is called Add.
            node.op_type = "Add" if node.op_type == "Sum" else node.op_type
        plain = work / "plain.onnx"
        onnx.save(version_converter.convert_version(model, 13), plain)
        quantization.shape_inference.quant_pre_process(
            str(plain), str(real), skip_symbolic_shape=True)
        plain.unlink()
    pictures = (1, 3, 224, 224)
    cases = []
    for name, *how in (
        ("resnet50 QDQ u8", form.QDQ, kind.QUInt8, kind.QInt8, True),
        ("resnet50 QDQ s8", form.QDQ, kind.QInt8, kind.QInt8, True),
        ("resnet50 QDQ u8, one scale", form.QDQ, kind.QUInt8, kind.QInt8, False),
        ("resnet50 QOperator u8", form.QOperator, kind.QUInt8, kind.QInt8, True),
    ):
        path = work / (name.replace(" ", "-").replace(",", "") + ".onnx")
        if not path.exists():
            static(real, path, *how, pictures)
        cases.append((name, real, path, pictures))
    small = work / "convolutions.onnx"
    if not small.exists():
        convolutions(small)
    for name, *how in (
        ("convolutions QDQ u8, weights u8", form.QDQ, kind.QUInt8, kind.QUInt8, True),
        ("convolutions QOperator u8, weights u8", form.QOperator, kind.QUInt8, kind.QUInt8, False),
        ("convolutions QDQ s8", form.QDQ, kind.QInt8, kind.QInt8, True),
    ):
        path = work / (name.replace(" ", "-").replace(",", "") + ".onnx")
        if not path.exists():
            static(small, path, *how, (1, 3, 64, 64))
        cases.append((name, small, path, (1, 3, 64, 64)))
    for name, make, shape in (
        ("perceptron", perceptron, (1, 1024)), ("transformer", transformer, (1, 128, 512)),
        ("convolutions", convolutions, (1, 3, 64, 64)),
    ):
        source, path = work / f"{name}.onnx", work / f"{name}-dynamic.onnx"
        if not path.exists():
            make(source)
            types = ["MatMul", "Conv"] if name == "convolutions" else ["MatMul"]
            quantization.quantize_dynamic(
                str(source), str(path), op_types_to_quantize=types,
                weight_type=kind.QUInt8 if name == "convolutions" else kind.QInt8)
        cases.append((f"{name} dynamic", source, path, shape))
    return cases


def inputs(path, shape, batch):
    name = onnxruntime.InferenceSession(path).get_inputs()[0].name
    random = np.random.default_rng(batch)
    return {name: random.random((batch, *shape[1:]), np.float32)}


def ours(arguments, path, tensors, backend):
    batch = len(next(iter(tensors.values())))
    runner = engine.Engine(arguments.stowage, path, 1, backend)
    with tempfile.TemporaryDirectory() as folder:
        for tensor in tensors.values():
            tensor.tofile(f"{folder}/in")
            shape = "x".join(map(str, tensor.shape))
        runner.ask(f"run {batch} {folder}/in {folder}/out {shape}")
        result = np.fromfile(f"{folder}/out", np.float32)
    runner.close()
    return result


def distinct(answer):
    """The smallest distance of different elements: a step where they are quantised."""
    values = np.unique(answer)
    gaps = np.diff(values)
    gaps = gaps[gaps > 1e-6 * np.abs(values).max()]
    return float(gaps.min()) if len(gaps) else float("nan")


def check(arguments, cases):
    rows = []
    for name, _, path, shape in cases:
        for batch in arguments.batches:
            tensors = inputs(path, shape, batch)
            options = onnxruntime.SessionOptions()
            optimized = onnxruntime.InferenceSession(path, options).run(None, tensors)[0].ravel()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            plain = onnxruntime.InferenceSession(path, options).run(None, tensors)[0].ravel()
            answer = ours(arguments, path, tensors, "cpu")
            largest = np.abs(plain).max()
            cells = [f"{np.abs(a - b).max() / largest:.1e}" for a, b in (
                (answer, plain), (answer, optimized), (optimized, plain))]
            shares = [f"{np.mean(np.abs(a - b) > 1e-5 * largest):.1%}" for a, b in (
                (answer, plain), (optimized, plain))]
            step = distinct(plain) / largest
            rows.append(f"| {name} | {batch} | {step:.1e} | " + " | ".join(cells + shares) + " |")
            print(rows[-1], flush=True)
    heads = ["network", "batch", "smallest distance of different answers", "ours from plain",
             "ours from optimised", "optimised from plain", "our answers that differ",
             "optimised ones that differ"]
    text = "\n".join([
        "# Quantised networks, checked", "",
        f"Largest differences over the largest answer, onnxruntime {onnxruntime.__version__} with "
        "and without its optimisations, the CPU engine on one thread; seeded random weights and "
        "inputs. The last columns: how many answers differ by more than 1e-5 from onnxruntime "
        "without optimisations. Command:", "",
        "    python3 Benchmarks/Engine/int8.py --stowage PATH --work FOLDER --check", "",
        "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *rows, ""])
    write(RESULTS / "int8-check.md", text)


def write(page, text):
    # What people wrote about the numbers stays.
    notes = page.read_text().partition("\n## ") if page.exists() else ("", "", "")
    page.write_text(text + notes[1] + notes[2])


def measure(arguments, case, threads, rows):
    name, real, path, shape = case
    engines = {
        "onnxruntime int8": (engine.Onnxruntime(arguments, path, threads), path),
        "Stowage int8": (engine.Ours(arguments, path, threads, "fp32"), path),
        "Stowage fp32": (engine.Ours(arguments, real, threads, "fp32"), real),
    }
    for batch in arguments.batches:
        times = {}
        for label, (runner, file) in engines.items():
            runner.prepare(batch, inputs(file, shape, batch))
            times[label] = []
        for _ in range(arguments.repeat):
            for label, (runner, _) in engines.items():
                times[label] += engine.turn(runner.time)
        rows[f"{name}|{threads}|{batch}"] = {
            label: [round(1e3 * q, 3) for q in statistics.quantiles(values, n=4)]
            for label, values in times.items()}
        print(name, threads, batch, rows[f"{name}|{threads}|{batch}"], flush=True)
    for runner, _ in engines.values():
        runner.close()


def report(arguments, rows):
    heads = ["network", "threads", "batch", "onnxruntime int8", "Stowage int8", "Stowage fp32",
             "ours/onnxruntime", "int8/fp32"]
    lines, ratios = [], []
    for key, row in rows.items():
        cells = key.split("|")
        for label in heads[3:6]:
            low, middle, high = row[label]
            cells.append(f"{middle:.2f} ({low:.2f}-{high:.2f})")
        pair = (row["Stowage int8"][1] / row["onnxruntime int8"][1],
                row["Stowage int8"][1] / row["Stowage fp32"][1])
        ratios.append(pair)
        lines.append("| " + " | ".join(cells + [f"{value:.2f}" for value in pair]) + " |")
    means = np.exp(np.mean(np.log(ratios), axis=0))
    text = "\n".join([
        "# Quantised networks beside onnxruntime", "",
        f"{engine.processor()}, {os.cpu_count()} cores, Linux {platform.release()}; onnxruntime "
        f"{onnxruntime.__version__}, oneDNN 2.6.3; seeded random weights; the same threads, "
        f"{arguments.repeat} turns each in turn; medians (quartiles) in ms. Command:", "",
        "    python3 Benchmarks/Engine/int8.py --stowage PATH --work FOLDER", "",
        f"Geometric means of {len(ratios)} rows: ours over onnxruntime's {means[0]:.2f}, our int8 "
        f"over our fp32 {means[1]:.2f}.", "",
        "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *lines, ""])
    write(RESULTS / "int8.md", text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stowage", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--check", action="store_true", help="compare answers instead of times")
    parser.add_argument("--resume", action="store_true", help="add to what FOLDER/int8.json has")
    parser.add_argument("--names", nargs="+", help="parts of names; all unless told")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    cases = [case for case in prepare(arguments.work)
             if not arguments.names or any(part in case[0] for part in arguments.names)]
    if arguments.check:
        return check(arguments, cases)
    kept = arguments.work / "int8.json"
    rows = json.loads(kept.read_text()) if arguments.resume and kept.exists() else {}
    for case in cases:
        for threads in arguments.threads:
            measure(arguments, case, threads, rows)
            kept.write_text(json.dumps(rows, indent=1))
    report(arguments, rows)


if __name__ == "__main__":
    main()
