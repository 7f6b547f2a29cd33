#!/usr/bin/env python3
"""Many networks in less memory than they need: Stowage beside onnxruntime under the same limit.

Each cell runs in a control group with a memory limit (needs root); systems take turns within a
repetition; page caches are dropped before each run, so everything read is charged and counted.

    python3 Benchmarks/Memory/oversubscription.py --stowage PATH --work FOLDER
        [--limits 100 75 50 35 25] [--streams round-robin zipf] [--systems ...] [--repeat 3]
        [--disk-rate MB] [--append]

FOLDER keeps the networks (made once, seeded random weights) and the packed files. Cells go to
Benchmarks/Results/oversubscription.json as they come; --append adds to those that are there. With
--disk-rate the group reads no more than so many MB/s: a disk of which nobody has cached anything. The
table goes to standard output, pictures to Benchmarks/Results/oversubscription{,-memory}.png.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np

import drawing
from cgroup import MemoryLimit, bytes_read, cached, forget_cached, resident
from workload import drive, stream, summary, write_json

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE.parent / "Results"
FULL = 1163 << 20  # onnxruntime's own peak with all four sessions held
MODELS = ["vgg19", "alexnet", "resnet50", "densenet121"]

SYSTEMS = {
    "stowage": ("stowage", []),
    "stowage-demand": ("stowage", ["--paging", "demand"]),
    "stowage-dynamic": ("stowage", ["--policy", "dynamic-batching"]),
    "stowage-fixed": ("stowage", ["--fixed-kernels"]),
    "ort-held": ("peer", "held"),
    "ort-mapped": ("peer", "mapped"),
    "ort-swap": ("peer", "swap"),
    "ort-swap-mapped": ("peer", "swap-mapped"),
}


class Watch(threading.Thread):
    """Notes what a process takes of memory and reads from the disk while it runs.

    A point is (seconds, bytes charged to the control group, resident bytes of the process with the
    cached pages of the packed files).
    """

    def __init__(self, limit, pid, files=()):
        super().__init__(daemon=True)
        self.limit, self.pid, self.files = limit, pid, list(files)
        self.points, self.read = [], 0
        self.stopped = threading.Event()
        self.begin = time.monotonic()

    def run(self):
        while not self.stopped.wait(0.1):
            taken = resident(self.pid) + cached(self.files)
            self.points.append(
                (round(time.monotonic() - self.begin, 2), self.limit.used, taken)
            )
            self.read = max(self.read, bytes_read(self.pid))

    def stop(self):
        self.stopped.set()
        self.join()


def metrics(port):
    """The server's metrics that tell of memory, paging and batches, summed over models."""
    wanted = (
        "stowage_memory", "stowage_page_in", "stowage_page_faults", "stowage_evict",
        "stowage_stall", "stowage_batches_total", "stowage_batch_predicted",
        "stowage_batch_measured_seconds",
    )
    found = {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if not line.startswith(wanted) or "_bucket{" in line:
                continue
            name, value = line.rsplit(" ", 1)
            labels = dict(re.findall(r'(\w+)="([^"]*)"', name))
            kept = [labels[key] for key in ("kind", "mode", "reason") if key in labels]
            key = " ".join([name.split("{")[0], *kept])
            found[key] = found.get(key, 0) + float(value)
    return found


class Client:
    """One connection a thread; answers are compared with onnxruntime's."""

    def __init__(self, port, expected, image):
        self.port, self.expected, self.image = port, expected, image
        self.local = threading.local()

    def __call__(self, model, samples):
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        expected = self.expected[model]
        data = self.image[:samples].tobytes()
        head = json.dumps(
            {
                "inputs": [
                    {
                        "name": str(expected["input"]),
                        "shape": [samples, 3, 224, 224],
                        "datatype": "FP32",
                        "parameters": {"binary_data_size": len(data)},
                    }
                ],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        try:
            self.local.connection.request(
                "POST",
                f"/v2/models/{model}/infer",
                head + data,
                {"Inference-Header-Content-Length": str(len(head))},
            )
            response = self.local.connection.getresponse()
            body = response.read()
        except Exception:
            self.local.connection.close()
            raise
        if response.status != 200:
            print(f"{model}: {response.status} {body[:300]!r}", file=sys.stderr)
            return False
        length = int(response.getheader("Inference-Header-Content-Length"))
        answer = np.frombuffer(body[length:], np.float32).reshape(samples, -1)
        right = expected["output"][:samples].reshape(samples, -1)
        return bool(np.abs(answer - right).max() <= 2e-3 * np.abs(right).max())


def run_stowage(arguments, flags, limit, job, expected, image):
    command = [arguments.stowage, "serve", "--models", str(arguments.work / "models")]
    command += ["--port", "0", "--units", "2", *flags]
    environment = dict(os.environ, XDG_CACHE_HOME=str(arguments.work / "cache"))
    begin = time.monotonic()
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        preexec_fn=limit.enter, env=environment,
    )
    watch = Watch(limit, server.pid, (arguments.work / "cache").rglob("*.weights"))
    watch.start()
    try:
        line = server.stdout.readline()
        if ":" not in line:
            return None, watch, time.monotonic() - begin
        port = int(line.split("http://127.0.0.1:")[1].split()[0].strip("/,."))
        ready = time.monotonic() - begin
        call = Client(port, expected, image)
        drive(job["warmup"], job["concurrency"], call, job["give_up_after"])
        before = bytes_read(server.pid)
        outcome = drive(job["requests"], job["concurrency"], call, job["give_up_after"])
        outcome["bytes_read"] = bytes_read(server.pid) - before
        outcome["metrics"] = metrics(port)
        return outcome, watch, ready
    finally:
        watch.stop()
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def run_peer(arguments, mode, limit, job):
    job = dict(job, mode=mode)
    peer = subprocess.Popen(
        [sys.executable, str(HERE / "peer.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, preexec_fn=limit.enter, cwd=HERE,
    )
    watch = Watch(limit, peer.pid)
    watch.start()
    killer = threading.Timer(3 * job["give_up_after"], peer.kill)
    killer.start()
    try:
        peer.stdin.write(json.dumps(job) + "\n")
        peer.stdin.flush()
        ready, result = peer.stdout.readline(), peer.stdout.readline()
        outcome = json.loads(result) if result else None
        if outcome is not None:
            outcome["bytes_read"] = watch.read
        return outcome, watch, json.loads(ready)["ready"] if ready else None
    finally:
        killer.cancel()
        peer.kill()
        peer.wait()
        watch.stop()


def pack(arguments):
    """Packs the weights without a limit, as a deployment would: all cells find them."""
    environment = dict(os.environ, XDG_CACHE_HOME=str(arguments.work / "cache"))
    subprocess.run(
        [arguments.stowage, "pack", "--models", str(arguments.work / "models"), "--units", "2"],
        check=True, env=environment,
    )


def run_cell(arguments, system, percent, kind, expected, image):
    bytes_limit = FULL * percent // 100
    requests = stream(MODELS, kind, arguments.requests, seed=1)
    mapped = "mapped" in SYSTEMS[system][1]
    folder = arguments.work / ("external" if mapped else "models")
    job = {
        "models": {name: str(folder / f"{name}.onnx") for name in MODELS},
        "warmup": stream(MODELS, "round-robin", 16, seed=0),
        "requests": requests,
        "limit": bytes_limit,
        "threads": 2,
        "concurrency": arguments.concurrency,
        "give_up_after": arguments.give_up_after,
    }
    forget_cached(arguments.work)
    reads = arguments.disk_rate and (arguments.work, arguments.disk_rate * 1_000_000)
    limit = MemoryLimit("stowage-benchmark", bytes_limit, reads)
    kind_of_system, detail = SYSTEMS[system]
    try:
        if kind_of_system == "stowage":
            outcome, watch, ready = run_stowage(arguments, detail, limit, job, expected, image)
        else:
            outcome, watch, ready = run_peer(arguments, detail, limit, job)
        cell = {
            "system": system, "percent": percent, "stream": kind, "ready_s": ready,
            "disk_rate": arguments.disk_rate, "killed": limit.kills, "peak_bytes": limit.peak, "limit_bytes": bytes_limit,
            "resident_peak_bytes": max((taken for _, _, taken in watch.points), default=0),
            "memory": watch.points[:: max(1, len(watch.points) // 100)],
        }
        if outcome:
            cell |= summary(outcome)
            cell |= {k: outcome[k] for k in ("failed", "unfinished", "bytes_read", "seconds")}
            cell["metrics"] = outcome.get("metrics")
        return cell
    finally:
        limit.remove()


def prepare(arguments):
    """Makes the networks, the copies with external weights and onnxruntime's answers, once."""
    import onnx
    import onnxruntime

    models, external = arguments.work / "models", arguments.work / "external"
    if not (models / "vgg19.onnx").exists():
        sys.path.insert(0, str(HERE.parent / "Networks"))
        import randomize

        randomize.write_all(models, MODELS)
    for name in MODELS:
        if not (external / f"{name}.onnx").exists():
            external.mkdir(parents=True, exist_ok=True)
            onnx.save_model(
                onnx.load(models / f"{name}.onnx"), external / f"{name}.onnx",
                save_as_external_data=True, location=f"{name}.data", size_threshold=1024,
            )
    image = np.random.default_rng(1).random((8, 3, 224, 224), np.float32)
    expected = {}
    for name in MODELS:
        session = onnxruntime.InferenceSession(models / f"{name}.onnx")
        source = session.get_inputs()[0].name
        expected[name] = {"input": source, "output": session.run(None, {source: image})[0]}
    return expected, image


def table(cells):
    lines = [
        "| limit | stream | system | requests/s | mean ms | p99 ms | MB read per request "
        "| failed | killed | peak, of the limit |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = sorted({(-c["percent"], c["stream"], c["system"]) for c in cells})
    for percent, kind, system in keys:
        key = (percent, kind, system)
        same = [c for c in cells if (-c["percent"], c["stream"], c["system"]) == key]
        done = [c for c in same if c.get("rate")]

        def middle(key, digits=1):
            if not done:
                return "-"
            values = [c[key] for c in done]
            spread = ""
            if len(done) > 1:
                spread = f" ({min(values):.{digits}f}-{max(values):.{digits}f})"
            return f"{statistics.median(values):.{digits}f}{spread}"

        read = "-"
        if done:
            answered = done[0]["rate"] * done[0]["seconds"]
            read = f"{statistics.median(c['bytes_read'] for c in done) / 1e6 / answered:.0f}"
        failed = sum(c.get("failed", 0) + c.get("unfinished", 0) for c in same)
        lines.append(
            f"| {-percent} % | {kind} | {system} | {middle('rate', 2)} | {middle('mean_ms', 0)} "
            f"| {middle('p99_ms', 0)} | {read} | {failed} | {sum(c['killed'] for c in same)} "
            f"| {max(c['resident_peak_bytes'] / c['limit_bytes'] for c in same):.2f} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stowage", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--limits", type=int, nargs="+", default=[100, 75, 50, 35, 25])
    parser.add_argument("--streams", nargs="+", default=["round-robin", "zipf"])
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--give-up-after", type=float, default=60, help="seconds for one stream")
    parser.add_argument("--disk-rate", type=int, help="the most MB/s read from the disk")
    parser.add_argument("--name", default="oversubscription", help="name of the result files")
    parser.add_argument("--append", action="store_true", help="add to the cells that are there")
    arguments = parser.parse_args()
    arguments.work = arguments.work.resolve()
    arguments.work.mkdir(parents=True, exist_ok=True)
    expected, image = prepare(arguments)
    pack(arguments)

    path = RESULTS / f"{arguments.name}.json"
    cells = json.loads(path.read_text()) if arguments.append and path.exists() else []
    first = 1 + max((cell["repetition"] for cell in cells), default=-1)
    for repetition in range(first, first + arguments.repeat):
        for percent in arguments.limits:
            for kind in arguments.streams:
                for system in arguments.systems:
                    cell = run_cell(arguments, system, percent, kind, expected, image)
                    cell["repetition"] = repetition
                    cells.append(cell)
                    rate = cell.get("rate")
                    told = "no answer" if rate is None else f"{rate:.2f} requests/s"
                    print(f"{percent:3} % {kind:12} {system:20} {told}, killed {cell['killed']}",
                          flush=True)
                    write_json(path, cells)
    print(table(cells))
    drawing.rates(cells, RESULTS / f"{arguments.name}.png")
    drawing.memory(cells, RESULTS / f"{arguments.name}-memory.png")


if __name__ == "__main__":
    main()
