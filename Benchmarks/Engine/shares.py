#!/usr/bin/env python3
"""Where the time of the CPU engine goes, as shares of what a core can compute.

    python3 Benchmarks/Engine/shares.py --stowage PATH --work FOLDER [--batches 1 8] [--names ...]

FOLDER holds the nine classic networks (Benchmarks/Engine/engine.py fills it). Layers are timed one by
one on one thread (`stowage bench`, `profile`), and the most that the core computes (peak.c) before
and after each network: a share is of the mean of the two, so that a core that is slow for a minute
is slow for both. Operations are those of the direct algorithm: Winograd takes fewer, and its share
can be above 100 %. Results go to Benchmarks/Results/shares.md.
"""

import argparse
import collections
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np
import onnx

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "Networks"))
import randomize  # noqa: E402
from engine import Engine, images, processor  # noqa: E402

KINDS = ["convolution 3x3, stride 1", "convolution 1x1", "other convolution",
         "grouped convolution", "product", "the rest"]


def peak(folder):
    """GFLOP/s of fp32 on one core."""
    program = folder / "peak"
    if not program.exists():
        subprocess.run(
            ["cc", "-O3", "-march=native", "-ffp-contract=fast", "-o", program, HERE / "peak.c"],
            check=True)
    return float(subprocess.run([program], check=True, capture_output=True, text=True).stdout)


def work(path):
    """Kind and operations per sample of each node, by its place in the file."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    shapes |= {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    found = {}
    for place, node in enumerate(model.graph.node):
        kind, operations = "the rest", 0
        if node.op_type == "Conv":
            weights, made = shapes[node.input[1]], shapes[node.output[0]]
            attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            operations = 2 * int(np.prod(weights[1:])) * int(np.prod(made[1:]))
            strides = attributes.get("strides", [1, 1])
            if attributes.get("group", 1) > 1:
                kind = "grouped convolution"
            elif weights[2:] == [1, 1]:
                kind = "convolution 1x1"
            elif weights[2:] == [3, 3] and strides == [1, 1]:
                kind = "convolution 3x3, stride 1"
            else:
                kind = "other convolution"
        elif node.op_type in ("Gemm", "MatMul"):
            kind, operations = "product", 2 * int(np.prod(shapes[node.input[1]]))
        found[place] = (kind, operations)
    return found


def profile(engine, samples):
    """Seconds by layer name."""
    engine.process.stdin.write(f"profile {samples}\n")
    engine.process.stdin.flush()
    found = {}
    while True:
        fields = engine.process.stdout.readline().rstrip("\n").split("\t")
        if fields[0] == "ok":
            return found
        if len(fields) != 3:
            raise RuntimeError(" ".join(fields))
        found[fields[0]] = int(fields[2]) / 1e9


def measure(arguments, name, batch, folder):
    """By kind: seconds per sample, and operations per sample."""
    path = arguments.work / f"{name}.onnx"
    nodes = work(path)
    before = peak(folder)
    engine = Engine(arguments.stowage, path, 1, largest=batch)
    engine.run(images(batch))
    layers = profile(engine, batch)
    engine.close()
    most = statistics.mean((before, peak(folder)))
    seconds, operations = collections.Counter(), collections.Counter()
    for layer, took in layers.items():
        # A layer is named after the place of its first node.
        kind, count = nodes[int(layer.removeprefix("n"))]
        seconds[kind] += took / batch
        operations[kind] += count
    return {"peak": most, "seconds": seconds, "operations": operations}


def share(row, kinds):
    seconds = sum(row["seconds"][kind] for kind in kinds)
    operations = sum(row["operations"][kind] for kind in kinds)
    return operations / seconds * 1e-9 / row["peak"] if seconds else None


def table(rows):
    heads = ["network", "batch", "peak GFLOP/s", "ms a sample", "share of the peak", *KINDS]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for (name, batch), row in rows.items():
        total = sum(row["seconds"].values())
        cells = [name, str(batch), f"{row['peak']:.0f}", f"{1e3 * total:.1f}",
                 f"**{share(row, KINDS):.0%}**"]
        for kind in KINDS:
            if not row["seconds"][kind]:
                cells.append("")
                continue
            part = f"{row['seconds'][kind] / total:.0%} of the time"
            own = share(row, [kind])
            cells.append(f"**{own:.0%}**, {part}" if own else part)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stowage", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--names", nargs="+", default=randomize.NETWORKS)
    arguments = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.names:
            for batch in arguments.batches:
                rows[name, batch] = measure(arguments, name, batch, pathlib.Path(folder))
                print(name, batch, f"{share(rows[name, batch], KINDS):.0%}", flush=True)
    page = HERE.parent / "Results" / "shares.md"
    notes = page.read_text().partition("\n## ") if page.exists() else ("", "", "")
    page.write_text("\n".join([
        "# Shares of a core's peak", "",
        f"{processor()}, one thread of {os.cpu_count()} cores, oneDNN 2.6.3, fp32, seeded random "
        "weights. The peak is measured with independent chains of fused multiply-adds before and "
        "after each network. **Bold** is the share of it that a kind of layer reaches, by the "
        "operations of the direct algorithm: Winograd, which 3x3 convolutions of stride 1 use where "
        "it is faster, takes fewer. Command:", "",
        "    python3 Benchmarks/Engine/shares.py --stowage PATH --work FOLDER", "",
        table(rows), ""]) + notes[1] + notes[2])


if __name__ == "__main__":
    main()
