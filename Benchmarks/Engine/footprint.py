#!/usr/bin/env python3
"""Memory that a run takes beside the weights, and the time until a first answer, beside onnxruntime.

    python3 Benchmarks/Engine/footprint.py --stowage PATH --work FOLDER [--batches 1 8] [--names ...]

FOLDER holds the nine classic networks (Benchmarks/Engine/engine.py fills it). Memory: by how much a
process grows at most in its first run after loading (the kernel's high-water mark of resident memory,
set back before the run), which is activations, scratch, inputs and outputs; both engines run in a
process of their own, on one thread. onnxruntime is measured as it comes, and without its arena, which
grows by doubling. Time: from the start of the process until the model is ready, and until the first
answer, of ResNet-50 on two threads: `stowage serve` on packed weights that lie there, the page cache
dropped, over HTTP, and a Python process with onnxruntime. Results go to
Benchmarks/Results/footprint.md.
"""

import argparse
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime

HERE = pathlib.Path(__file__).resolve().parent
for folder in ("Networks", "Memory"):
    sys.path.insert(0, str(HERE.parent / folder))
import burst  # noqa: E402
import randomize  # noqa: E402
from engine import Engine, images, processor  # noqa: E402

PEER = """
import ctypes, sys, time
begin = time.perf_counter()
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
options.enable_cpu_mem_arena = sys.argv[3] == "arena"
imported = time.perf_counter()
session = onnxruntime.InferenceSession(sys.argv[1], options)
loaded = time.perf_counter()
source = session.get_inputs()[0].name
# What loading has left in the heap would be taken for the run, and not be seen.
ctypes.CDLL(None).malloc_trim(0)
print("ready", loaded - imported, imported - begin, flush=True)
for line in sys.stdin:
    image = np.random.default_rng(0).random((int(line), 3, 224, 224), np.float32)
    session.run(None, {source: image})
    print("ok", flush=True)
"""


def status(process, field):
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024


def growth(process, call):
    """Bytes that a process grows by at most during a call."""
    before = status(process, "VmRSS")
    pathlib.Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    call()
    return status(process, "VmHWM") - before


def peer(path, threads, arena):
    process = subprocess.Popen(
        [sys.executable, "-c", PEER, str(path), str(threads), arena], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def peer_growth(path, batch, arena):
    process = peer(path, 1, arena)

    def ask():
        process.stdin.write(f"{batch}\n")
        process.stdin.flush()
        process.stdout.readline()

    found = growth(process, ask)
    process.stdin.close()
    process.wait()
    return found


def own_growth(arguments, path, batch):
    engine = Engine(arguments.stowage, path, 1, largest=batch)
    with tempfile.TemporaryDirectory() as folder:
        images(batch).tofile(f"{folder}/in")
        found = growth(
            engine.process, lambda: engine.ask(f"run {batch} {folder}/in {folder}/out"))
    engine.close()
    return found


def memory(arguments):
    lines = ["| network | batch | Stowage MB a sample | onnxruntime | without its arena | ratio "
             "| ratio without arena |", "|---|---|---|---|---|---|---|"]
    for name in arguments.names:
        path = arguments.work / f"{name}.onnx"
        for batch in arguments.batches:
            ours = own_growth(arguments, path, batch)
            theirs = [peer_growth(path, batch, arena) for arena in ("arena", "plain")]
            each = [bytes / batch / 1e6 for bytes in (ours, *theirs)]
            lines.append(
                f"| {name} | {batch} | {each[0]:.1f} | {each[1]:.1f} | {each[2]:.1f} "
                f"| {each[0] / each[1]:.2f} | {each[0] / each[2]:.2f} |")
            print(lines[-1], flush=True)
    return lines


def own_start(arguments, folder, model):
    """Seconds until ready, and from there to the first and to a later answer."""
    burst.forget_cached(folder / "cache")
    begin = time.monotonic()
    with burst.Server(arguments.stowage, model, folder / "cache", 2, 8 << 30) as server:
        ready = time.monotonic() - begin
        answers = [server.burst([("resnet50", 0)])["makespan"] for _ in range(3)]
    return ready, answers[0], statistics.median(answers[1:])


def peer_start(path):
    begin = time.monotonic()
    process = peer(path, 2, "arena")
    ready = time.monotonic() - begin
    answers = []
    for _ in range(3):
        asked = time.monotonic()
        process.stdin.write("1\n")
        process.stdin.flush()
        process.stdout.readline()
        answers.append(time.monotonic() - asked)
    process.stdin.close()
    process.wait()
    return ready, answers[0], statistics.median(answers[1:])


def starts(arguments, folder):
    models = folder / "models"
    models.mkdir()
    path = arguments.work / "resnet50.onnx"
    (models / "resnet50.onnx").symlink_to(path.resolve())
    own_start(arguments, folder, models)  # packs
    found = {"Stowage": [], "onnxruntime": []}
    for _ in range(arguments.repeat):
        found["Stowage"].append(own_start(arguments, folder, models))
        found["onnxruntime"].append(peer_start(path))
    lines = ["| ms | start to ready | ready to first answer | later answer |", "|---|---|---|---|"]
    for name, rows in found.items():
        cells = []
        for values in zip(*rows):
            low, middle, high = statistics.quantiles(values, n=4)
            cells.append(f"{1e3 * middle:.0f} ({1e3 * low:.0f}-{1e3 * high:.0f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stowage", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--names", nargs="+", default=randomize.NETWORKS)
    parser.add_argument("--repeat", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        started = starts(arguments, pathlib.Path(folder))
    print("\n".join(started), flush=True)
    grown = memory(arguments)
    page = HERE.parent / "Results" / "footprint.md"
    # What people wrote about the numbers stays.
    notes = page.read_text().partition("\n## How to read it") if page.exists() else ("", "", "")
    page.write_text("\n".join([
        "# Memory of a run, and the time until a first answer", "",
        f"{processor()}, {os.cpu_count()} cores, Linux {platform.release()}, oneDNN 2.6.3, "
        f"onnxruntime {onnxruntime.__version__}, numpy {np.__version__}. What is measured, and how, "
        "stands at the head of the script:", "",
        "    python3 Benchmarks/Engine/footprint.py --stowage PATH --work FOLDER", "",
        "## Memory beside the weights, in MB a sample", "", *grown, "",
        "## ResNet-50: from the start of the process", "", *started, ""])
        + notes[1] + notes[2])


if __name__ == "__main__":
    main()
