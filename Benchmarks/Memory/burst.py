"""Requests for several networks at once: sent to a server, and played by the simulator."""

import hashlib
import json
import os
import pathlib
import re
import selectors
import socket
import subprocess
import tempfile
import time
import urllib.request

import numpy as np

from cgroup import forget_cached

FULL = 1163 << 20  # onnxruntime's own peak with all four networks held
MODELS = ["vgg19", "alexnet", "resnet50", "densenet121"]
GAP = 0.001  # seconds between two requests of a burst: less than any of them takes
COUNTERS = {
    "page_in_bytes": "stowage_page_in_bytes_total",
    "page_in_seconds": "stowage_page_in_seconds_total",
    "stall": "stowage_stall_seconds_total",
    "run": "stowage_batch_measured_seconds_total",
    "run_predicted": "stowage_batch_predicted_seconds_total",
}
INPUTS = {}


def requests(counts):
    """The models of a burst's requests, in turn, as (model, number of its image)."""
    most = max(counts.values())
    return [(name, turn) for turn in range(most) for name in counts if turn < counts[name]]


class Server:
    """`with Server(...) as server:` serves until the block ends."""

    def __init__(self, stowage, models, cache, units, memory, flags=()):
        self.command = [
            stowage, "serve", "--models", str(models), "--cache", str(cache), "--port", "0",
            "--quiet", "--units", str(units), "--memory", f"{memory}B", *flags,
        ]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"serves (\d+) models? on http://([\d.]+):(\d+)", line)
        if found is None:
            self.process.kill()
            raise RuntimeError(f"the server said: {line}")
        self.address = (found[2], int(found[3]))
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def get(self, path):
        url = "http://%s:%d%s" % (*self.address, path)
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.read().decode()

    def metric(self, name):
        """The sum of a metric over all of its labels that match."""
        pattern = re.escape(name) + ("" if "{" in name else r"(?:\{.*\})?")
        found = re.findall(rf"^{pattern} (\S+)$", self.get("/metrics"), re.MULTILINE)
        return sum(map(float, found))

    def burst(self, wanted):
        """Sends requests all at once; returns what came of them.

        All but the last byte of each is there before the first begins, so that sending takes
        nothing from the machine while it answers.
        """
        for name, _ in wanted:
            if name not in INPUTS:
                (entry,) = json.loads(self.get(f"/v2/models/{name}"))["inputs"]
                INPUTS[name] = entry["name"]
        connections = [socket.create_connection(self.address) for _ in wanted]
        bodies = [message(*request) for request in wanted]
        for connection, body in zip(connections, bodies):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(body[:-1])
        resident = self.metric('stowage_memory_bytes{kind="weights"}')
        before = {key: self.metric(name) for key, name in COUNTERS.items()}
        time.sleep(0.3)
        begin = time.monotonic()
        for index, (connection, body) in enumerate(zip(connections, bodies)):
            while time.monotonic() < begin + index * GAP:
                pass
            connection.sendall(body[-1:])
        answers, moments = receive(connections, begin)
        responses = [moment - index * GAP for index, moment in enumerate(moments)]
        return {
            "makespan": max(moments), "mean": float(np.mean(responses)),
            "digests": digests(wanted, answers),
            "resident": resident, "plans_bytes": self.metric("stowage_memory_plans_bytes"),
            **{key: self.metric(name) - before[key] for key, name in COUNTERS.items()},
        }


def digests(wanted, answers):
    """One digest of all answers of each model, in the order of its images."""
    found = {}
    for (name, turn), answer in sorted(zip(wanted, answers)):
        found[name] = found.get(name, "") + answer
    return {
        name: hashlib.sha256(text.encode()).hexdigest()[:12] for name, text in found.items()
    }


def message(model, turn):
    """A request with one image as it goes over the wire."""
    image = np.random.default_rng(turn).random((1, 3, 224, 224), np.float32).tobytes()
    head = json.dumps({
        "inputs": [{"name": INPUTS[model], "shape": [1, 3, 224, 224], "datatype": "FP32",
                    "parameters": {"binary_data_size": len(image)}}],
        "parameters": {"binary_data_output": True},
    }).encode()
    lines = [
        f"POST /v2/models/{model}/infer HTTP/1.1", "Host: localhost",
        f"Content-Length: {len(head) + len(image)}",
        f"Inference-Header-Content-Length: {len(head)}", "", "",
    ]
    return "\r\n".join(lines).encode() + head + image


def receive(connections, begin):
    """Digests of the answers' tensors, and the seconds after which each was there."""
    waiting = selectors.DefaultSelector()
    received = [b""] * len(connections)
    found, moments = [None] * len(connections), [None] * len(connections)
    for index, connection in enumerate(connections):
        waiting.register(connection, selectors.EVENT_READ, index)
    while waiting.get_map():
        ready = waiting.select(timeout=120)
        if not ready:
            raise RuntimeError("the server has not answered for two minutes")
        for key, _ in ready:
            index, piece = key.data, key.fileobj.recv(1 << 16)
            received[index] += piece
            head, _, body = received[index].partition(b"\r\n\r\n")
            length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
            if piece and (length is None or len(body) < int(length[1])):
                continue
            moments[index] = time.monotonic() - begin
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"a request was answered {head[:40]} {body[:300]}")
            start = re.search(rb"(?i)^inference-header-content-length: (\d+)", head, re.MULTILINE)
            found[index] = hashlib.sha256(body[int(start[1]):]).hexdigest()[:16]
            waiting.unregister(key.fileobj)
            key.fileobj.close()
    return found, moments


def measure(stowage, folders, counts, units, memory, flags, bursts=1, warm=None, between=None):
    """A fresh server; a burst to get warm (of the same requests, or of `warm`), then others that
    count, with a call of `between` before and after each."""
    models, cache = folders
    forget_cached(cache)
    with Server(stowage, models, cache, units, memory, flags) as server:
        wanted = requests(counts)
        server.burst(requests(warm or counts))
        found = []
        for _ in range(bursts):
            if between is not None and not found:
                between()
            found.append(server.burst(wanted))
            if between is not None:
                between()
        peak = server.metric('stowage_memory_peak_bytes{kind="process"}')
    for burst in found:
        burst["peak_bytes"] = peak
    return found


def profile(stowage, models, units, samples, folder, again=False):
    """Measures the layers of all networks (`stowage profile`); files by name.

    With `again` they are measured once more. Of several times of a layer the median counts: what a
    plan is to foretell is the machine as it mostly is.
    """
    folder = pathlib.Path(folder)
    files = {}
    for name in MODELS:
        stem = f"{name}-{units}-{samples}"
        passes = sorted(folder.glob(f"{stem}-pass*.json"))
        if again or not passes:
            command = [stowage, "profile", "--model", str(models / f"{name}.onnx"), "--table"]
            command += ["--units", str(units), "--samples", str(samples)]
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            passes.append(folder / f"{stem}-pass{len(passes)}.json")
            passes[-1].write_text(text)
        known = [json.loads(path.read_text()) for path in passes]
        for layer, *others in zip(*(one["layers"] for one in known), strict=True):
            times = [one["cost_table"]["ms"] for one in (layer, *others)]
            layer["cost_table"]["ms"] = np.median(times, axis=0).tolist()
        files[name] = str(folder / f"{stem}.json")
        pathlib.Path(files[name]).write_text(json.dumps(known[0]))
    return files


def device(units, link, demand, interference, slowdown=0.0):
    """A device file of this machine, from its measured rates in bytes per second."""
    return {
        "name": "this machine", "source": "measured", "units": units, "page_kb": 64,
        "interference": interference,
        "link": {"gb_per_s": link / 1e9, "latency_us": 50, "slowdown": slowdown},
        "demand": {"gb_per_s": demand / 1e9, "fault_us": 0, "faults_per_block": 0, "block_mb": 2,
                   "faults_per_unit": 1, "fault_batch": 1},
        "compute": {"gflops": 1, "gb_per_s": 1, "launch_us": 0, "blocks_per_unit": 1},
    }


def simulate(stowage, profiles, counts, machine, units, memory, policy, warm=None):
    """A burst after one to get warm, as the simulator has it: seconds of makespan and mean."""
    apart = 1000.0
    first = requests(warm or counts)
    before = play(stowage, profiles, [first], apart, machine, units, memory, policy)
    both = play(
        stowage, profiles, [first, requests(counts)], apart, machine, units, memory, policy)
    wanted = both["answered"] - before["answered"]
    total = both["mean_ms"] * both["answered"] - before["mean_ms"] * before["answered"]
    return {
        "makespan": both["makespan_ms"] / 1e3 - apart, "mean": total / wanted / 1e3,
        "page_in_bytes": (both["moved_mb"] - before["moved_mb"]) * 1e6,
    }


def play(stowage, profiles, bursts, apart, machine, units, memory, policy):
    """The simulator's report on some bursts, with long pauses between them."""
    models = []
    for name in profiles:
        times = [
            number * apart + index * GAP for number, order in enumerate(bursts)
            for index, (model, _) in enumerate(order) if model == name
        ]
        if times:
            models.append({
                "name": name, "network": os.path.abspath(profiles[name]), "maximum_batch": 32,
                "arrivals": {"process": "trace", "times": times},
            })
    workload = {"device_profile": machine, "units": units, "memory_mb": memory / 1e6,
                "seconds": len(bursts) * apart, "seed": 1, "noise": 0, "models": models}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(workload, file)
        file.flush()
        command = [stowage, "simulate", file.name, "--policies", policy, "--format", "json"]
        (report,) = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if report["answered"] != report["arrived"]:
        raise RuntimeError(f"the simulator answered {report['answered']} requests only")
    return report
