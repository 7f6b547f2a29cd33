#!/usr/bin/env python3
"""The CPU engine with one version of oneDNN beside itself with others.

    python3 Benchmarks/Engine/onednn.py --work FOLDER --build 2.6.3=PATH --build 3.2=PATH
        --build 3.6.2=PATH:LIBRARIES [--names ...] [--batches 1 4] [--threads 1] [--repeat 3]
        [--resume]

PATH is a `stowage` built as Documentation/OneDNN.md says; with LIBRARIES, it finds libdnnl there.
All builds run the same inputs with the same number of threads and take turns, as in engine.py; the
first is what ratios are of. FOLDER keeps the classic networks. Results go to
Benchmarks/Results/onednn.md.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import engine  # noqa: E402

PAGE = HERE.parent / "Results" / "onednn.md"


class Build:
    """One build with its libraries."""

    def __init__(self, arguments, binary, path, threads, precision):
        binary, _, libraries = binary.partition(":")
        before = os.environ.get("LD_LIBRARY_PATH")
        if libraries:
            os.environ["LD_LIBRARY_PATH"] = libraries
        arguments.stowage = binary
        self.runner = engine.Ours(arguments, path, threads, precision)
        os.environ.pop("LD_LIBRARY_PATH", None)
        if before is not None:
            os.environ["LD_LIBRARY_PATH"] = before


def measure(arguments, name, threads, precision, rows):
    path = arguments.work / f"{name}.onnx"
    source = engine.session(path, 1)[1]
    runners = {
        label: Build(arguments, binary, path, threads, precision).runner
        for label, binary in arguments.builds.items()}
    for batch in arguments.batches:
        times = {label: [] for label in runners}
        for runner in runners.values():
            runner.prepare(batch, {source: engine.images(batch)})
        for _ in range(arguments.repeat):
            for label, runner in runners.items():
                times[label] += engine.turn(runner.time)
        key = f"{name}|{precision}|{threads}|{batch}"
        rows[key] = {
            label: [round(1e3 * q, 3) for q in statistics.quantiles(values, n=4)]
            for label, values in times.items()}
        print(key, rows[key], flush=True)
    for runner in runners.values():
        runner.close()


def report(arguments, rows):
    labels = list(arguments.builds)
    heads = ["network", "precision", "threads", "batch", *labels,
             *(f"{label} / {labels[0]}" for label in labels[1:])]
    lines, ratios = [], {label: {"fp32": [], "bf16": []} for label in labels[1:]}
    for key, row in rows.items():
        cells = key.split("|")
        if not all(label in row for label in labels):
            continue
        for label in labels:
            low, middle, high = row[label]
            cells.append(f"{middle:.1f} ({low:.1f}-{high:.1f})")
        for label in labels[1:]:
            ratio = row[label][1] / row[labels[0]][1]
            ratios[label][key.split("|")[1]].append(ratio)
            cells.append(f"{ratio:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    means = [
        f"| {label} | " + " | ".join(
            f"{np.exp(np.mean(np.log(values))):.2f}" if values else "-"
            for values in kinds.values()) + " |"
        for label, kinds in ratios.items()]
    text = "\n".join([
        "# Versions of oneDNN under the CPU engine", "",
        f"{engine.processor()}, {os.cpu_count()} cores, Linux {platform.release()}; seeded random "
        f"weights; {arguments.repeat} turns each in turn; medians (quartiles) in ms. Command:", "",
        "    python3 Benchmarks/Engine/onednn.py --work FOLDER "
        + " ".join(f"--build {label}=PATH" for label in labels), "",
        f"| time over that with {labels[0]}, geometric mean | fp32 | bf16 |", "|---|---|---|",
        *means,
        "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *lines, ""])
    # What people wrote about the numbers stays.
    notes = PAGE.read_text().partition("\n## ") if PAGE.exists() else ("", "", "")
    PAGE.write_text(text + notes[1] + notes[2])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--build", action="append", required=True, help="LABEL=PATH[:LIBRARIES]")
    parser.add_argument("--names", nargs="+",
                        default=["resnet50", "vgg19", "shufflenet", "densenet121"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--resume", action="store_true", help="add to what FOLDER/onednn.json has")
    arguments = parser.parse_args()
    arguments.builds = dict(build.split("=", 1) for build in arguments.build)
    engine.randomize.write_all(arguments.work, arguments.names)
    kept = arguments.work / "onednn.json"
    rows = json.loads(kept.read_text()) if arguments.resume and kept.exists() else {}
    for name in arguments.names:
        for precision in arguments.precisions:
            measure(arguments, name, arguments.threads, precision, rows)
            kept.write_text(json.dumps(rows, indent=1))
    report(arguments, rows)


if __name__ == "__main__":
    main()
