#!/usr/bin/env python3
"""The CPU engine beside onnxruntime and OpenVINO: right answers first, then time ratios.

    python3 Benchmarks/Engine/engine.py --stowage PATH --work FOLDER [--check] [--names ...]
        [--models FOLDER] [--resume] [--batches 1 4 16] [--threads 1 2] [--repeat 5]

FOLDER keeps the nine classic networks and two encoders of text, all with seeded random weights; the
folder of --models is the one that Benchmarks/Models/models.py fills. All engines run the same inputs
with the same number of threads and take turns of a few calls, with a pause before each so that the
others' spinning threads have gone to sleep; medians and quartiles are of all calls. With --resume
several short sittings make one page: all ratios are of times from one sitting, and rows that are
steady stay as they are.
With --check, answers are compared: with the outputs that the onnx package publishes, and with
onnxruntime's on random weights at batch 1, 3 and 8, on the CPU backend and on Reference.
Results go to Benchmarks/Results/engine.md and engine-check.md.
"""

import argparse
import json
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
import encoder  # noqa: E402
import randomize  # noqa: E402


class Engine:
    """`stowage bench` as a subprocess that answers line by line."""

    def __init__(self, binary, model, threads, backend="cpu", largest=8, precision="fp32"):
        self.process = subprocess.Popen(
            [binary, "bench", str(model), "--units", str(threads), "--max-batch", str(largest),
             "--backend", backend, "--precision", precision],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        first = self.process.stdout.readline().split()
        if first[:1] != ["ready"]:
            raise RuntimeError(f"{model} could not be loaded: {first}")
        self.load_seconds = int(first[1]) / 1e9

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if answer[:1] != ["ok"]:
            raise RuntimeError(f"{line}: {' '.join(answer)}")
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
    for name in networks(arguments):
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


def turn(call):
    """Times of a few calls in a row, the first of which only wakes the threads up.

    Idle threads of all engines spin for a while, which would slow the others: hence the pause.
    """
    time.sleep(0.15)
    first = call()
    return [call() for _ in range(3 if first < 0.2 else 1)]


class Ours:
    """`stowage bench`, asked for the time that it measures itself."""

    def __init__(self, arguments, path, threads, precision):
        self.engine = Engine(
            arguments.stowage, path, threads, largest=max(arguments.batches), precision=precision)

    def prepare(self, batch, inputs):
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/in", "wb") as file:
                for tensor in inputs.values():
                    file.write(tensor.tobytes())
            shapes = " ".join(
                "x".join(map(str, tensor.shape)) or "-" for tensor in inputs.values())
            self.engine.ask(f"run {batch} {folder}/in {folder}/out {shapes}")
        self.batch = batch

    def time(self):
        return self.engine.ask(f"time {self.batch}")

    def close(self):
        self.engine.close()


class Onnxruntime:
    def __init__(self, arguments, path, threads):
        self.session, _ = session(path, threads)

    def prepare(self, batch, inputs):
        self.inputs = inputs
        self.session.run(None, inputs)

    def time(self):
        begin = time.perf_counter()
        self.session.run(None, self.inputs)
        return time.perf_counter() - begin

    def close(self):
        del self.session


class OpenVINO:
    """Compiled for each shape, which is its best case, with one stream of so many threads."""

    def __init__(self, arguments, path, threads, precision):
        import openvino

        self.openvino, self.core, self.path = openvino, openvino.Core(), path
        self.options = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1,
                        "INFERENCE_NUM_THREADS": threads}

    def prepare(self, batch, inputs):
        model = self.core.read_model(self.path)
        model.reshape({name: list(tensor.shape) for name, tensor in inputs.items()})
        self.request = self.core.compile_model(model, "CPU", self.options).create_infer_request()
        for name, tensor in inputs.items():
            self.request.set_tensor(name, self.openvino.Tensor(tensor))
        self.time()

    def time(self):
        begin = time.perf_counter()
        self.request.infer()
        return time.perf_counter() - begin

    def close(self):
        self.request = None


ENGINES = {
    "onnxruntime": Onnxruntime,
    "OpenVINO": lambda *rest: OpenVINO(*rest, "f32"),
    "Stowage": lambda *rest: Ours(*rest, "fp32"),
    "OpenVINO bf16": lambda *rest: OpenVINO(*rest, "bf16"),
    "Stowage bf16": lambda *rest: Ours(*rest, "bf16"),
}


def networks(arguments):
    return [name for name in randomize.NETWORKS if name in (arguments.names or [name])]


def encoders(arguments):
    return [name for name in encoder.NAMES if name in (arguments.names or [name])]


def cases(arguments):
    """Name, path and inputs by batch of everything that is to be measured."""
    for name in networks(arguments):
        path = arguments.work / f"{name}.onnx"
        source = session(path, 1)[1]
        yield name, path, lambda batch, source=source: {source: images(batch)}
    for name in encoders(arguments):
        yield (name, arguments.work / f"{name}.onnx",
               lambda batch: encoder.inputs(np.random.default_rng(7), batch))
    if arguments.models:
        sys.path.insert(0, str(HERE.parent / "Models"))
        import models

        for name, (_, _, inputs) in models.MODELS.items():
            if arguments.names and name not in arguments.names:
                continue
            path = arguments.models / f"{name}.onnx"
            order = [each.name for each in session(path, 1)[0].get_inputs()]

            def made(batch, inputs=inputs, order=order):
                tensors = inputs(np.random.default_rng(7), batch)
                return tensors and {name: tensors[name] for name in order}

            yield name, path, made


def spread(row):
    """The most by which the third quartile of an engine's times is larger than the first."""
    return max(high / low for low, _, high in row.values())


def steadiest(arguments, runners, earlier):
    """Quartiles of each engine's times; where those of any are far apart, because others took the
    machine meanwhile, of the steadiest of several attempts: a bound for all engines alike."""
    attempts = [earlier] if earlier else []
    for _ in range(arguments.attempts):
        times = {engine: [] for engine in runners}
        for _ in range(arguments.repeat):
            for engine, runner in runners.items():
                times[engine] += turn(runner.time)
        attempts.append({engine: [round(1e3 * q, 3) for q in statistics.quantiles(values, n=4)]
                         for engine, values in times.items()})
        if spread(attempts[-1]) <= arguments.spread:
            break
    return min(attempts, key=spread)


def measure(arguments, name, path, inputs, threads, rows):
    def is_steady(batch):
        row = rows.get(f"{name} {threads} {batch}")
        return row is not None and spread(row) <= arguments.spread

    if all(map(is_steady, arguments.batches)):
        return
    engines = {}
    for engine, make in ENGINES.items():
        try:
            engines[engine] = make(arguments, path, threads)
        except Exception as reason:
            print(f"{engine} does not take {name}: {str(reason)[:200]}", flush=True)
    for batch in arguments.batches:
        key, tensors = f"{name} {threads} {batch}", inputs(batch)
        if tensors is None or is_steady(batch):
            continue
        ready = {}
        for engine, runner in engines.items():
            try:
                runner.prepare(batch, tensors)
                ready[engine] = runner
            except Exception as reason:
                print(f"{engine} does not run {name}: {str(reason)[:200]}", flush=True)
        rows[key] = steadiest(arguments, ready, rows.get(key))
    for runner in engines.values():
        runner.close()


def ratio(row, ours, peer):
    return row[ours][1] / row[peer][1] if ours in row and peer in row else None


PAIRS = [("Stowage", "onnxruntime"), ("Stowage", "OpenVINO"), ("Stowage bf16", "OpenVINO bf16")]


def report(rows, arguments):
    import openvino

    heads = ["network", "threads", "batch", *ENGINES,
             "ours/onnxruntime", "ours/OpenVINO", "bf16 ours/OpenVINO"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for key, row in rows.items():
        cells = key.split()
        for engine in ENGINES:
            low, middle, high = row.get(engine, (0, 0, 0))
            cells.append(f"{middle:.1f} ({low:.1f}-{high:.1f})" if middle else "-")
        for pair in PAIRS:
            value = ratio(row, *pair)
            cells.append("-" if value is None else f"{value:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    means = []
    for pair in PAIRS:
        values = {key: ratio(row, *pair) for key, row in rows.items()}
        values = {key: value for key, value in values.items() if value is not None}
        mean = float(np.exp(np.mean(np.log(list(values.values())))))
        above = sum(value > 1.05 for value in values.values())
        worst = max(values, key=values.get)
        means.append(f"| {pair[0]} / {pair[1]} | {mean:.2f} | {len(values)} | {above} | "
                     f"{worst.replace(' ', ', ')}: {values[worst]:.2f} |")
    text = "\n".join([
        "# The CPU engine beside onnxruntime and OpenVINO", "",
        f"{processor()}, {os.cpu_count()} cores, Linux {platform.release()}; onnxruntime "
        f"{onnxruntime.__version__}, OpenVINO {openvino.__version__.split('-')[0]}, oneDNN 2.6.3; "
        "seeded random weights in the classic networks and encoders, trained weights elsewhere; the "
        f"same threads, {arguments.repeat} turns each in turn; medians (quartiles) in ms. "
        "Command:", "",
        "    python3 Benchmarks/Engine/engine.py --stowage PATH --work FOLDER --models FOLDER "
        f"--repeat {arguments.repeat}", "",
        "| time ratio | geometric mean | rows | above 1.05 | worst (network, threads, batch) |",
        "|---|---|---|---|---|", *means, "", *lines, ""])
    page = RESULTS / "engine.md"
    # What people wrote about the numbers stays.
    notes = page.read_text().partition("\n## ") if page.exists() else ("", "", "")
    page.write_text(text + notes[1] + notes[2])
    print("\n".join(means))


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
    parser.add_argument("--models", type=pathlib.Path, help="a folder of the trained models")
    parser.add_argument("--resume", action="store_true", help="add to what FOLDER/engine.json has")
    parser.add_argument("--names", nargs="+", help="networks and models; all unless told")
    parser.add_argument("--backends", nargs="+", default=["cpu", "reference"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--spread", type=float, default=2, help="quartiles further apart than this "
                        "(third over first, of any engine) make a row be measured again")
    parser.add_argument("--attempts", type=int, default=3, help="how often at most")
    arguments = parser.parse_args()
    randomize.write_all(arguments.work, networks(arguments))
    encoder.write_all(arguments.work, encoders(arguments))
    if arguments.check:
        return check(arguments)
    kept = arguments.work / "engine.json"
    rows = json.loads(kept.read_text()) if arguments.resume and kept.exists() else {}
    for name, path, inputs in cases(arguments):
        for threads in arguments.threads:
            measure(arguments, name, path, inputs, threads, rows)
            print(f"{name}, {threads} threads: measured", flush=True)
            kept.write_text(json.dumps(rows, indent=1))
    report(rows, arguments)


if __name__ == "__main__":
    main()
