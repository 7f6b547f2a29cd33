#!/usr/bin/env python3
"""The CPU engine beside onnxruntime: right answers first, then time ratios of one sitting.

    python3 Benchmarks/Engine/engine.py --stowage PATH --work FOLDER [--check] [--names ...]
        [--batches 1 8] [--threads 1 2] [--repeat 7]

FOLDER keeps the nine classic networks with seeded random weights. Both engines run the same inputs
with the same number of threads and take turns of a few calls, with a pause before each so that the
other's spinning threads have gone to sleep; medians and quartiles are of all calls.
With --check, answers are compared: with the outputs that the onnx package publishes, and with
onnxruntime's on random weights at batch 1, 3 and 8, on the CPU backend and on Reference.
Results go to Benchmarks/Results/engine.md and engine-check.md.
"""

import argparse
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE.parent / "Results"
sys.path.insert(0, str(HERE.parent / "Networks"))
import randomize  # noqa: E402


class Engine:
    """`stowage bench` as a subprocess that answers line by line."""

    def __init__(self, binary, model, threads, backend="cpu", largest=8):
        self.process = subprocess.Popen(
            [binary, "bench", str(model), "--units", str(threads), "--max-batch", str(largest),
             "--backend", backend],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        first = self.process.stdout.readline().split()
        if first[:1] != ["ready"]:
            raise SystemExit(f"{model} could not be loaded: {first}")
        self.load_seconds = int(first[1]) / 1e9

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if answer[:1] != ["ok"]:
            raise SystemExit(f"{line}: {' '.join(answer)}")
        return int(answer[1]) / 1e9

    def run(self, image):
        with tempfile.TemporaryDirectory() as folder:
            image.tofile(f"{folder}/in")
            self.ask(f"run {len(image)} {folder}/in {folder}/out")
            return np.fromfile(f"{folder}/out", np.float32)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    made = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return made, made.get_inputs()[0].name


def images(count):
    return np.random.default_rng(count).random((count, 3, 224, 224), np.float32)


def check(arguments):
    columns = [(backend, count) for backend in arguments.backends for count in (1, 3, 8)]
    rows, worst = [], 0.0
    for name in arguments.names:
        cells = [published_difference(arguments, name)]
        path = arguments.work / f"{name}.onnx"
        oracle, source = session(path, 2)
        for backend in arguments.backends:
            engine = Engine(arguments.stowage, path, 1, backend)
            for count in (1, 3, 8):
                right = oracle.run(None, {source: images(count)})[0].ravel()
                error = float(np.abs(engine.run(images(count)) - right).max() / np.abs(right).max())
                if not error <= 1e-3:
                    raise SystemExit(f"{name} on {backend}, batch {count}: {error} off.")
                worst = max(worst, error)
                cells.append(f"{error:.0e}")
            engine.close()
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
        print(rows[-1], flush=True)
        report_check(columns, rows, worst)


def published_difference(arguments, name):
    """The largest relative difference from the output that the onnx package ships, as a cell."""
    light = randomize.light(name)
    engine = Engine(arguments.stowage, light, 1)
    ramp = (np.arange(150528, dtype=np.float32) / 150528).reshape(1, 3, 224, 224)
    published = numpy_helper.to_array(
        onnx.load_tensor(str(light).replace(".onnx", "_output_0.pb"))).ravel()
    tolerance = 2e-3 if name == "densenet121" else 1e-3
    error = float((np.abs(engine.run(ramp) - published) / np.abs(published)).max())
    engine.close()
    if not error <= tolerance:
        raise SystemExit(f"{name} differs from its published output by {error}.")
    return f"{error:.0e} of {tolerance:.0e}"


def report_check(columns, rows, worst):
    text = "\n".join([
        "# The nine classic networks, checked", "",
        "Published output: largest relative difference from the output that the onnx package ships, "
        "and its own tolerance. The other columns: seeded random weights, largest difference from "
        f"onnxruntime {onnxruntime.__version__} over the largest output (to hold: 1e-3; worst: "
        f"{worst:.0e}). Command:", "",
        "    python3 Benchmarks/Engine/engine.py --stowage PATH --work FOLDER --check", "",
        "| network | published output | " + " | ".join(f"{b}, batch {n}" for b, n in columns) + " |",
        "|---" * (2 + len(columns)) + "|", *rows, ""])
    (RESULTS / "engine-check.md").write_text(text)


def timed(peer, source, image):
    begin = time.perf_counter()
    peer.run(None, {source: image})
    return time.perf_counter() - begin


def turn(call):
    """Times of a few calls in a row, the first of which only wakes the threads up.

    Idle threads of both engines spin for a while, which would slow the other one: hence the pause.
    """
    time.sleep(0.15)
    first = call()
    return [call() for _ in range(3 if first < 0.2 else 1)]


def measure(arguments, name, threads):
    path = arguments.work / f"{name}.onnx"
    peer, source = session(path, threads)
    engine = Engine(arguments.stowage, path, threads, largest=max(arguments.batches))
    rows = []
    for batch in arguments.batches:
        image = images(batch)
        engine.run(image)
        peer.run(None, {source: image})
        ours, theirs = [], []
        for _ in range(arguments.repeat):
            theirs += turn(lambda: timed(peer, source, image))
            ours += turn(lambda: engine.ask(f"time {batch}"))
        rows.append((name, threads, batch, ours, theirs))
    engine.close()
    return rows


def report(rows, arguments):
    ratio = {}
    lines = ["| network | threads | batch | onnxruntime ms | Stowage ms (quartiles) | ratio |",
             "|---|---|---|---|---|---|"]
    for name, threads, batch, ours, theirs in rows:
        low, middle, high = statistics.quantiles(ours, n=4)
        theirs_middle = statistics.median(theirs)
        ratio[name, threads, batch] = middle / theirs_middle
        lines.append(
            f"| {name} | {threads} | {batch} | {1e3 * theirs_middle:.1f} | {1e3 * middle:.1f} "
            f"({1e3 * low:.1f}-{1e3 * high:.1f}) | {middle / theirs_middle:.2f} |")
    mean = float(np.exp(np.mean(np.log(list(ratio.values())))))
    above = sorted(k for k, v in ratio.items() if v > 1)
    named = ", ".join(f"{n} ({t} threads, batch {b})" for n, t, b in above) or "none"
    text = "\n".join([
        "# The CPU engine beside onnxruntime", "",
        f"{processor()}, {os.cpu_count()} cores, Linux {platform.release()}; onnxruntime "
        f"{onnxruntime.__version__}, oneDNN 2.6.3; fp32, seeded random weights, same threads, "
        f"{arguments.repeat} turns each in turn. Command:", "",
        "    python3 Benchmarks/Engine/engine.py --stowage PATH --work FOLDER "
        f"--repeat {arguments.repeat}", "",
        f"Geometric mean of the time ratios ours/onnxruntime: **{mean:.2f}**. Above 1: {named}.",
        "", *lines, ""])
    page = RESULTS / "engine.md"
    # What people wrote about the numbers stays.
    notes = page.read_text().partition("\n## ") if page.exists() else ("", "", "")
    page.write_text(text + notes[1] + notes[2])
    print(text)


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stowage", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--check", action="store_true", help="compare answers instead of times")
    parser.add_argument("--names", nargs="+", default=list(randomize.NETWORKS))
    parser.add_argument("--backends", nargs="+", default=["cpu", "reference"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeat", type=int, default=7)
    arguments = parser.parse_args()
    randomize.write_all(arguments.work, arguments.names)
    if arguments.check:
        return check(arguments)
    rows = []
    for name in arguments.names:
        for threads in arguments.threads:
            rows += measure(arguments, name, threads)
            print(f"{name}, {threads} threads: measured", flush=True)
    report(rows, arguments)


if __name__ == "__main__":
    main()
