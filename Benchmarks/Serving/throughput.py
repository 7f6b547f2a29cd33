#!/usr/bin/env python3
"""A served ResNet-50 under concurrent clients beside the engine's own batched throughput.

    python3 Benchmarks/Serving/throughput.py --stowage PATH --work FOLDER [--repeat 3]

FOLDER keeps the network with seeded random weights. Eight clients send one image each over and over,
as binary tensors; the engine runs batches of eight without a server. Both take turns. Results go to
Benchmarks/Results/throughput.md.
"""

import argparse
import http.client
import json
import os
import pathlib
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time

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
    """Images per second of so many clients, each with one request in flight."""
    payload, headers = body("gpu_0/data_0")
    counts, stop = [0] * clients, time.monotonic() + seconds
    begin = time.monotonic()

    def client(index):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.monotonic() < stop:
            connection.request("POST", "/v2/models/resnet50/infer", payload, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"The server answered {answer.status}.")
            counts[index] += 1

    threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stowage", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    randomize.write_all(arguments.work, ["resnet50"])
    model = arguments.work / "resnet50.onnx"
    units = os.cpu_count()

    own = engine.Engine(arguments.stowage, model, units)
    own.run(np.random.default_rng(8).random((8, 3, 224, 224), np.float32))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(model, folder)
        server, port, _ = serving.start(arguments.stowage, folder, os.environ.get("X","").split())
        served, alone = [], []
        served_rate(port, arguments.clients, 1)
        for _ in range(arguments.repeat):
            times = [own.ask("time 8") for _ in range(8)]
            alone.append(8 / statistics.median(times))
            served.append(served_rate(port, arguments.clients, arguments.seconds))
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
        "", f"Served of the engine's own: **{share:.2f}** (to reach: 0.95).", ""])
    (HERE.parent / "Results" / "throughput.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
