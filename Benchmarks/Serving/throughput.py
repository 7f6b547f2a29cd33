#!/usr/bin/env python3
"""A served ResNet-50 under concurrent clients beside the engine's own batched throughput.

    python3 Benchmarks/Serving/throughput.py --stowage PATH --work FOLDER [--repeat 5]

FOLDER keeps the network with seeded random weights. Eight clients send one image each over and over,
as binary tensors; the engine runs batches of eight without a server. Both take turns. Results go to
Benchmarks/Results/throughput.md.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
import urllib.request

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "Networks"), str(HERE.parent / "Engine")]
import engine  # noqa: E402
import randomize  # noqa: E402
import serving  # noqa: E402


def body(source):
    image = np.random.default_rng(1).random((1, 3, 224, 224), np.float32).tobytes()
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": source, "shape": [1, 3, 224, 224], "datatype": "FP32",
                    "parameters": {"binary_data_size": len(image)},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    return head + image, {"Inference-Header-Content-Length": str(len(head))}


def served_rate(port, clients, seconds):
    """Images per second of so many clients, each with one request in flight.

    Plain sockets: a Python HTTP library takes as much of the two cores as the server does.
    """
    payload, headers = body("gpu_0/data_0")
    lines = ["POST /v2/models/resnet50/infer HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(payload)}", "", ""]
    request = "\r\n".join(lines).encode() + payload
    counts, begin = [0] * clients, time.monotonic()
    stop = begin + seconds

    def client(index):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            while time.monotonic() < stop:
                connection.sendall(request)
                answer = connection.recv(65536)
                head, _, rest = answer.partition(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200 "):
                    raise SystemExit(f"The server answered {head[:80]!r}.")
                left = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(rest)
                while left > 0:
                    left -= len(connection.recv(65536))
                counts[index] += 1

    threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - begin)


def batches(port, samples):
    """How many batches took more than half of so many samples, and how many there were."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    counts = {
        limit: int(count) for limit, count in
        re.findall(r'^stowage_batch_samples_bucket{.*le="([^"]+)"} (\d+)$', text, re.M)}
    return counts["+Inf"] - counts[str(samples // 2)], counts["+Inf"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stowage", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    randomize.write_all(arguments.work, ["resnet50"])
    model = arguments.work / "resnet50.onnx"
    units = os.cpu_count()

    own = engine.Engine(arguments.stowage, model, units)
    own.run(np.random.default_rng(8).random((8, 3, 224, 224), np.float32))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(model, folder)
        server, port, _ = serving.start(arguments.stowage, folder, [])
        served, alone = [], []
        served_rate(port, arguments.clients, 5)
        for _ in range(arguments.repeat):
            times = [own.ask("time 8") for _ in range(8)]
            alone.append(8 / statistics.median(times))
            served.append(served_rate(port, arguments.clients, arguments.seconds))
        whole, total = batches(port, arguments.clients)
        server.terminate()
        server.wait()
    own.close()
    share = statistics.median(s / a for s, a in zip(served, alone))
    text = "\n".join([
        "# A served network beside the engine alone", "",
        f"{serving.processor()}, {units} cores, Linux {platform.release()}. ResNet-50, "
        f"{arguments.clients} clients with one image each in flight (binary tensors, on the same "
        f"cores), {arguments.repeat} turns. Command:", "",
        "    python3 Benchmarks/Serving/throughput.py --stowage PATH --work FOLDER", "",
        "| | images/s, median (all) |", "|---|---|",
        f"| engine, batches of 8 | {statistics.median(alone):.1f} "
        f"({', '.join(f'{r:.1f}' for r in alone)}) |",
        f"| served | {statistics.median(served):.1f} ({', '.join(f'{r:.1f}' for r in served)}) |",
        "", f"Served of the engine's own: **{share:.2f}** (to reach: 0.95).",
        f"{whole} of {total} batches took more than half of the clients.", ""])
    (HERE.parent / "Results" / "throughput.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
