"""Heap allocations of one keep-alive request, counted in the running server.

    python3 Benchmarks/Allocations/allocations.py PATH/TO/stowage

Serves the bundled model with an allocation counter preloaded, sends 1,000 and then 3,000 requests
of each kind over one connection, and divides the difference: what start and end cost cancels out.
"""

import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def requests():
    """Name and bytes of each kind of request."""
    document = json.loads((ROOT / "Examples/digits/7-1.json").read_text())
    text = json.dumps(document).encode()
    entry = document["inputs"][0]
    elements = struct.pack("<64f", *entry.pop("data"))
    entry["parameters"] = {"binary_data_size": len(elements)}
    document["parameters"] = {"binary_data_output": True}
    head = json.dumps(document).encode()
    path = b"/v2/models/digits/infer"
    post = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s"
    length = b"Inference-Header-Content-Length: %d\r\n" % len(head)
    return {
        "GET /v2/health/live": b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        "infer, JSON": post % (path, len(text), b"", text),
        "infer, binary": post % (path, len(head) + len(elements), length, head + elements),
    }


def answer(connection, buffered):
    """Reads one answer; returns what came behind it."""
    while b"\r\n\r\n" not in buffered:
        buffered += connection.recv(65536)
    head, _, rest = buffered.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(buffered.decode(errors="replace"))
    size = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1])
    while len(rest) < size:
        rest += connection.recv(65536)
    return rest[size:]


def run(binary, counter, request, number, arguments):
    """Total allocations and bytes of a server that answers `number` requests."""
    process = subprocess.Popen(
        [binary, "serve", "--models", str(ROOT / "Models"), "--port", "0", "--quiet", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LD_PRELOAD": counter},
    )
    port = int(re.search(r":(\d+)\s*$", process.stdout.readline())[1])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        rest = b""
        for _ in range(number):
            connection.sendall(request)
            rest = answer(connection, rest)
    process.terminate()
    _, errors = process.communicate()
    found = re.search(r"allocations (\d+) bytes (\d+)", errors)
    return int(found[1]), int(found[2])


def main():
    binary, arguments = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory() as folder:
        counter = f"{folder}/count.so"
        source = str(pathlib.Path(__file__).with_name("count.c"))
        subprocess.run(
            ["cc", "-O2", "-shared", "-fPIC", "-o", counter, source, "-ldl"], check=True
        )
        print("| request | allocations | bytes |\n|---|---|---|")
        for name, request in requests().items():
            few = run(binary, counter, request, 1000, arguments)
            many = run(binary, counter, request, 3000, arguments)
            print(f"| {name} | {(many[0] - few[0]) / 2000:.2f} | {(many[1] - few[1]) / 2000:.0f} |")


if __name__ == "__main__":
    main()
