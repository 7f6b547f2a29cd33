#!/usr/bin/env python3
"""Many models, most of them idle: how fast a start is, what an idle model costs, and how long the
first request to a model waits whose weights are on the disk and whose kernels are not made.

    python3 Benchmarks/Memory/many.py --stowage PATH --networks FOLDER --work FOLDER
        [--models 200] [--oversubscribed 20] [--repeat 5]

The networks (Benchmarks/Networks/randomize.py makes them) are linked under many names, small ones
more often than large ones; each name is a model with packed weights of its own. The budget is the
size of all files over --oversubscribed. Results are printed as a table.
"""

import argparse
import http.client
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import time

PREPARED = 8  # Limits.modelsPreparedAtStart


def counts(sizes, total):
    """How many models each network stands for: as many bytes of each, and at least one."""
    weight = sum(1 / size for size in sizes.values())
    numbers = {name: max(1, int(total / size / weight)) for name, size in sizes.items()}
    smallest = min(sizes, key=sizes.get)
    numbers[smallest] += total - sum(numbers.values())
    return numbers


def link(networks, folder, total):
    """Links the networks under `total` names; returns (names by network, bytes of all models)."""
    sizes = {path.stem: path.stat().st_size for path in sorted(networks.glob("*.onnx"))}
    numbers = counts(sizes, total)
    folder.mkdir(parents=True)
    names = {}
    for name, number in numbers.items():
        names[name] = [f"{name}-{index:03}" for index in range(number)]
        for link in names[name]:
            (folder / f"{link}.onnx").symlink_to((networks / f"{name}.onnx").resolve())
    return names, sum(sizes[name] * number for name, number in numbers.items())


class Server:
    """`with Server(...) as server:` is up; `server.seconds` is how long that took."""

    def __init__(self, stowage, models, cache, budget):
        self.command = [stowage, "serve", "--models", str(models), "--cache", str(cache)]
        self.command += ["--port", "0", "--quiet", "--memory", f"{budget}B"]

    def __enter__(self):
        begin = time.monotonic()
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.seconds = time.monotonic() - begin
        found = re.search(r"serves (\d+) models? on http://(\S+)", line)
        if found is None:
            raise RuntimeError(f"The server said: {line}")
        self.models, self.address = int(found[1]), found[2]
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def private(self):
        """Bytes that the process has for itself alone."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) << 10

    def get(self, path):
        connection = http.client.HTTPConnection(self.address, timeout=120)
        connection.request("GET", path)
        answer = connection.getresponse().read()
        connection.close()
        return json.loads(answer)

    def infer(self, model):
        """Asks for one sample of zeros; returns the seconds until the answer, None for a 507."""
        (entry,) = self.get(f"/v2/models/{model}")["inputs"]
        shape = [max(size, 1) for size in entry["shape"]]
        elements = 1
        for size in shape:
            elements *= size
        raw = bytes(4 * elements)
        described = {**entry, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
        head = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}})
        headers = {"Inference-Header-Content-Length": str(len(head))}
        connection = http.client.HTTPConnection(self.address, timeout=120)
        connection.connect()
        begin = time.monotonic()
        connection.request("POST", f"/v2/models/{model}/infer", head.encode() + raw, headers)
        answer = connection.getresponse()
        body = answer.read()
        seconds = time.monotonic() - begin
        connection.close()
        if answer.status == 507:
            return None
        if answer.status != 200:
            raise RuntimeError(f"{model}: {answer.status} {body[:300]}")
        return seconds


def first_requests(server, names):
    """Bytes of weights, seconds of the first and of later requests and of computing as planned."""
    rows = []
    for network, links in names.items():
        model = links[-1]
        first = server.infer(model)
        if first is None:
            print(f"{network}: one sample needs more than the budget leaves for plans (507)")
            continue
        later = statistics.median(server.infer(model) for _ in range(5))
        plan = server.get(f"/v2/models/{model}/plan")
        rows.append((network, plan["page_in_bytes"], first, later, plan["compute_ms"] / 1e3))
    return rows


def page_in_rate(server):
    """Bytes per second of all page-ins so far."""
    connection = http.client.HTTPConnection(server.address, timeout=120)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    sums = {}
    for name in ("bytes", "seconds"):
        lines = re.findall(rf"^stowage_page_in_{name}_total{{.*}} (\S+)$", text, re.MULTILINE)
        sums[name] = sum(float(value) for value in lines)
    return sums["bytes"] / max(sums["seconds"], 1e-9)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stowage", required=True)
    parser.add_argument("--networks", required=True, type=pathlib.Path)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--oversubscribed", type=float, default=20)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()

    for name in ("all", "few"):
        shutil.rmtree(options.work / name, ignore_errors=True)
    names, total = link(options.networks, options.work / "all", options.models)
    few = options.work / "few"
    few.mkdir()
    for name in sorted(path.name for path in (options.work / "all").iterdir())[:PREPARED]:
        (few / name).symlink_to((options.work / "all" / name).resolve())
    cache = options.work / "cache"
    budget = int(total / options.oversubscribed)

    def server(folder):
        return Server(options.stowage, options.work / folder, cache, budget)

    with server("all") as cold:
        print(f"{cold.models} models, {total / 1e9:.1f} GB, budget {budget / 1e6:.0f} MB")
        print(f"first start, packing where nothing is packed yet: {cold.seconds:.1f} s")
    starts, private = [], {"all": [], "few": []}
    for _ in range(options.repeat):
        for folder in private:
            with server(folder) as warm:
                private[folder].append(warm.private())
                if folder == "all":
                    starts.append(warm.seconds)
    print(f"warm start: median {statistics.median(starts):.2f} s, worst {max(starts):.2f} s")
    idle = statistics.median(private["all"]) - statistics.median(private["few"])
    print(f"private memory: {statistics.median(private['all']) / 1e6:.0f} MB")
    print(f"idle cost: {idle / 1024 / (options.models - PREPARED):.0f} KiB a model")

    with server("all") as warm:
        rows = first_requests(warm, names)
        rate = page_in_rate(warm)
    print(f"page-in rate {rate / 1e9:.2f} GB/s")
    print("| network | page-in MB | first ms | later ms | page-in + compute ms | ratio |")
    print("|---|---|---|---|---|---|")
    for network, size, first, later, compute in rows:
        # A later request computes alone, unless its weights had to come in again.
        bound = size / rate + min(compute, later)
        print(
            f"| {network} | {size / 1e6:.0f} | {first * 1e3:.0f} | {later * 1e3:.0f} "
            f"| {bound * 1e3:.0f} | {first / bound:.2f} |"
        )


if __name__ == "__main__":
    main()
