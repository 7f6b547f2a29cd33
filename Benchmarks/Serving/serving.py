#!/usr/bin/env python3
"""What serving costs beside computing: a two-layer network asked by wrk, beside a bare answer.

    python3 Benchmarks/Serving/serving.py --stowage PATH [--seconds 5] [--repeat 3]

Three loads take turns on one server: `bare` (GET /v2/health/live), `json` and `binary` (the same
32-float inference). Requests per second are divided by the cores the server's process used, so that
the load generator's share does not count. Start to ready and resident memory come first. Results go
to Benchmarks/Results/serving.md. Needs wrk and the onnx package.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import struct
import subprocess
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


def write_network(path):
    """A 16-32-8 perceptron with seeded random weights."""
    random = np.random.default_rng(3)

    def weights(name, *shape):
        return numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], transB=1),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], transB=1),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
        [weights("w1", 32, 16), weights("b1", 32), weights("w2", 8, 32), weights("b2", 8)],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def lua(path, headers, body):
    """A wrk script that posts `body`, given as bytes."""
    escaped = "".join(f"\\{byte:03d}" for byte in body)
    lines = ['wrk.method = "POST"', f'wrk.body = "{escaped}"']
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    path.write_text("\n".join(lines) + "\n")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


def load(pid, url, script, seconds, connections):
    """One run of wrk: requests/s, cores the server used, latencies (ms)."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["-s", str(script)] if script else []
    before, begin = cpu_seconds(pid), time.monotonic()
    text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    cores = (cpu_seconds(pid) - before) / (time.monotonic() - begin)
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"{url} did not answer every request:\n{text}")
    unit = {"us": 1e-3, "ms": 1.0, "s": 1e3}

    def latency(share):
        value, name = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", text).groups()
        return float(value) * unit[name]

    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    return {"rate": rate, "cores": cores, "p50": latency(50), "p99": latency(99)}


def start(binary, models, extra=()):
    begin = time.monotonic()
    server = subprocess.Popen(
        [binary, "serve", "--models", str(models), "--port", "0", *extra],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    line = server.stdout.readline()
    ready = time.monotonic() - begin
    found = re.search(r"127\.0\.0\.1:(\d+)", line)
    if not found:
        raise SystemExit(f"The server did not become ready: {line!r}")
    return server, int(found[1]), ready


def idle_figures(binary, repeat):
    """Start to ready (s) and resident memory (MiB) with the bundled model."""
    ready, memory = [], []
    for _ in range(repeat):
        server, _, seconds = start(binary, ROOT / "Models")
        ready.append(seconds)
        memory.append(resident(server.pid))
        server.terminate()
        server.wait()
    return statistics.median(ready), statistics.median(memory)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stowage", required=True)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    arguments = parser.parse_args()

    ready, memory = idle_figures(arguments.stowage, 5)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "models").mkdir()
        write_network(folder / "models" / "mlp.onnx")
        values = np.random.default_rng(5).normal(0, 1, 16).astype(np.float32)
        tensor = {"name": "x", "shape": [1, 16], "datatype": "FP32"}
        text = json.dumps({"inputs": [tensor | {"data": [round(float(v), 4) for v in values]}]})
        lua(folder / "json.lua", {"Content-Type": "application/json"}, text.encode())
        head = json.dumps(
            {
                "inputs": [tensor | {"parameters": {"binary_data_size": 64}}],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        lua(
            folder / "binary.lua",
            {"Inference-Header-Content-Length": len(head)},
            head + struct.pack("<16f", *values),
        )
        server, port, _ = start(arguments.stowage, folder / "models")
        infer = f"http://127.0.0.1:{port}/v2/models/mlp/infer"
        loads = {
            "bare": (f"http://127.0.0.1:{port}/v2/health/live", None),
            "json": (infer, folder / "json.lua"),
            "binary": (infer, folder / "binary.lua"),
        }
        runs = {name: [] for name in loads}
        for _ in range(arguments.repeat):
            for name, (url, script) in loads.items():
                runs[name].append(
                    load(server.pid, url, script, arguments.seconds, arguments.connections)
                )
        after = resident(server.pid)
        server.terminate()
        server.wait()
    report(runs, ready, memory, after, arguments)


def report(runs, ready, memory, after, arguments):
    def middle(name, key):
        return statistics.median(run[key] for run in runs[name])

    def per_core(name):
        return statistics.median(run["rate"] / run["cores"] for run in runs[name])

    lines = [
        "# Serving overhead",
        "",
        f"{os.cpu_count()} cores, {processor()}, Linux {platform.release()}; "
        f"`wrk -t1 -c{arguments.connections} -d{arguments.seconds}s`, {arguments.repeat} turns each, "
        "medians; the load generator shares the cores. Network: 16-32-8 perceptron. Command:",
        "",
        "    python3 Benchmarks/Serving/serving.py --stowage PATH "
        f"--seconds {arguments.seconds} --repeat {arguments.repeat}",
        "",
        "| load | requests/s | server cores | requests/s per server core | of bare "
        "| p50 ms | p99 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in runs:
        lines.append(
            f"| {name} | {middle(name, 'rate'):,.0f} | {middle(name, 'cores'):.2f} "
            f"| {per_core(name):,.0f} | {per_core(name) / per_core('bare'):.2f} "
            f"| {middle(name, 'p50'):.2f} | {middle(name, 'p99'):.2f} |"
        )
    lines += [
        "",
        f"Start to ready with the bundled model: {ready:.3f} s. Resident when idle: "
        f"{memory:.0f} MiB; after the loads above: {after:.0f} MiB.",
        "",
    ]
    text = "\n".join(lines)
    (ROOT / "Benchmarks/Results/serving.md").write_text(text)
    print(text)


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
