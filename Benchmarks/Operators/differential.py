#!/usr/bin/env python3
"""Runs random graphs on every backend of the server and compares the answers with onnxruntime's.

    pip install -r Benchmarks/Operators/requirements.txt
    Benchmarks/Operators/differential.py                       10,000 graphs, writes the page
    Benchmarks/Operators/differential.py --first 4711 --count 1 --keep FOLDER     one of them again

Every graph depends on its number alone: graphs.py says how it grows; rules.py, movement.py,
layers.py, quantized.py and detectors.py say which nodes it has. OperatorCheck runs a hundred of
them in one process; one that kills it counts as a difference, and the rest go on without it.
"""

import argparse
import collections
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import detectors  # noqa: E402,F401  (rules join those of `rules` when they are imported)
import layers  # noqa: E402,F401
import movement  # noqa: E402,F401
import quantized  # noqa: E402,F401
from graphs import Graph, Rejected  # noqa: E402
from rules import RULES, WEIGHTS  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "Benchmarks" / "Results" / "differential.md"
WAYS = {
    "interpreter": "Reference, node by node as the file has it",
    "reference": "compiled, on the reference backend",
    "cpu": "compiled, on the CPU backend",
    "parts": "compiled, on the CPU backend, samples in changing parts of one batch",
}
# Part of an output's largest element by which any of its elements may be wrong.
OF_LARGEST = "3e-4"
SHAPES = [(0.45, 4), (0.25, 3), (0.2, 2), (0.1, 5)]


def begin(g):
    """The first input of a graph: pictures, sequences, rows or volumes."""
    rank = g.random.choice([rank for _, rank in SHAPES], p=[share for share, _ in SHAPES])
    if rank == 4:
        g.input([g.batch, g.choose([1, 2, 3, 4, 8]), g.integer(3, 8), g.integer(3, 8)], np.float32)
    elif rank == 5:
        g.input([g.batch, g.integer(1, 3)] + [g.integer(2, 4) for _ in range(3)], np.float32)
    else:
        shape = [g.batch] + [g.integer(2, 6) for _ in range(rank - 1)]
        g.input(shape, g.choose([np.float32] * 6 + [np.float64, np.int64, np.int32, np.float16]))


def generate(number):
    """The graph of this number; the next try where the first comes to nothing."""
    weights = np.asarray(WEIGHTS) / sum(WEIGHTS)
    for trial in range(100):
        g = Graph([number, trial])
        begin(g)
        wanted = g.integer(3, 12)
        for _ in range(60):
            if len(g.nodes) >= wanted:
                break
            try:
                RULES[g.random.choice(len(RULES), p=weights)](g)
            except Rejected:
                continue
        if not 3 <= len(g.nodes) <= 16:
            continue
        try:
            return g, *g.finish()
        except Rejected:
            continue
    raise RuntimeError(f"Graph {number} comes to nothing in 100 tries.")


def write(job):
    """Lays the graph of a number out in files, as ONNX's backend tests are."""
    number, place = job
    onnxruntime.set_default_logger_severity(4)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    g, model, inputs, answers = generate(number)
    folder = pathlib.Path(place) / str(number)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    for index in range(g.sets):
        data = folder / f"test_data_set_{index}"
        data.mkdir()
        for kind, arrays in (("input", inputs[index]), ("output", answers[index])):
            for position, array in enumerate(arrays):
                tensor = numpy_helper.from_array(np.asarray(array))
                (data / f"{kind}_{position}.pb").write_bytes(tensor.SerializeToString())
    return str(folder), [node.op_type for node in g.nodes], g.rejected


def verdicts(binary, way, folders):
    """Runs a checker over all cases, starting it again after one that kills it."""
    results, left = {}, list(folders)
    while left:
        done = subprocess.run(
            [binary, way, "--of-largest", OF_LARGEST] + left,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"SWIFT_BACKTRACE": "enable=no"},
        )
        for line in done.stdout.splitlines():
            verdict, _, folder = line.rpartition(" ")
            if verdict.startswith(("PASS", "FAIL")):
                results[folder] = verdict
        left = [folder for folder in left if folder not in results]
        if left:
            results[left[0]] = f"FAIL [the process died: {done.stderr.strip()[:200]}]"
            left = left[1:]
    return results


def examine(job):
    """Makes some graphs and runs them every way; returns what differs."""
    numbers, binary, ways, keep = job
    counts, nodes, differences = collections.Counter(), collections.Counter(), []
    with tempfile.TemporaryDirectory() as place:
        cases = [write((number, place)) for number in numbers]
        for _, operations, _ in cases:
            counts.update(operations)
            nodes[len(operations)] += 1
        for way in ways:
            found = verdicts(binary, way, [folder for folder, _, _ in cases])
            for folder, operations, _ in cases:
                if found[folder] != "PASS":
                    number = pathlib.Path(folder).name
                    differences.append((way, number, found[folder], " ".join(operations)))
                    if keep:
                        shutil.copytree(folder, pathlib.Path(keep) / number, dirs_exist_ok=True)
    return counts, nodes, differences


def build():
    command = ["swift", "build", "-c", "release", "--product", "OperatorCheck"]
    subprocess.run(command + ["--quiet"], cwd=ROOT, check=True)
    shown = subprocess.run(
        command + ["--show-bin-path"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return str(pathlib.Path(shown.stdout.strip()) / "OperatorCheck")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--first", type=int, default=0, help="number of the first graph")
    parser.add_argument("--count", type=int, default=10_000, help="how many graphs")
    parser.add_argument("--ways", default=",".join(WAYS), help="how to run them")
    parser.add_argument("--binary", help="an OperatorCheck that is built")
    parser.add_argument("--keep", help="folder for the graphs that differ")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--no-page", action="store_true", help="do not write the page")
    options = parser.parse_args()
    binary, ways = options.binary or build(), options.ways.split(",")
    numbers = range(options.first, options.first + options.count)
    jobs = [
        (numbers[at : at + 100], binary, ways, options.keep) for at in range(0, len(numbers), 100)
    ]
    counts, nodes, differences = collections.Counter(), collections.Counter(), []
    started = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(min(options.processes, len(jobs))) as pool:
        for part in pool.imap_unordered(examine, jobs):
            counts.update(part[0])
            nodes.update(part[1])
            differences += part[2]
            for way, number, verdict, operations in part[2]:
                print(f"{way} {number}: {verdict} in {operations}", flush=True)
    took = time.monotonic() - started
    print(
        f"{len(numbers)} graphs, {sum(counts.values())} nodes of {len(counts)} operators, "
        f"{len(differences)} differences, {took:.0f} s"
    )
    if not options.no_page:
        PAGE.write_text(page(numbers, ways, counts, nodes, differences, took))
    sys.exit(1 if differences else 0)


def page(numbers, ways, counts, nodes, differences, took):
    lines = [
        "# Random graphs against onnxruntime",
        "",
        f"Graphs {numbers[0]} to {numbers[-1]}: {len(numbers)} graphs, {sum(counts.values())}",
        f"nodes of {len(counts)} operators, {took:.0f} s; onnxruntime {onnxruntime.__version__}",
        f"without rewrites, ONNX {onnx.__version__}. Written by",
        "`Benchmarks/Operators/differential.py`, which says how graphs are made. An element may",
        "differ by 1e-3 of itself (FP16: 1e-2), or by",
        f"{OF_LARGEST} of the largest element of its output.",
        "",
        "| run as | graphs | differences |",
        "|---|---:|---:|",
    ]
    failed = collections.Counter(way for way, *_ in differences)
    lines += [f"| {WAYS[way]} | {len(numbers)} | {failed[way]} |" for way in ways]
    lines += [
        "",
        "Graphs by their number of nodes: "
        + ", ".join(f"{count} of {size}" for size, count in sorted(nodes.items()))
        + ".",
        "",
    ]
    lines += [
        "Nodes by operator: "
        + ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        + "."
    ]
    if differences:
        lines += ["", "## Differences", ""]
        lines += [
            f"- {way}, graph {number}: {verdict} ({operations})"
            for way, number, verdict, operations in differences
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
