"""Streams of requests, the same for every system, and what came of them."""

import json
import random
import statistics
import threading
import time


def stream(models, kind, count, seed):
    """`count` requests as (model, samples): taking turns four at a time, or by Zipf's law."""
    chooser = random.Random(seed)
    requests = []
    for number in range(count):
        if kind == "round-robin":
            model = models[(number // 4) % len(models)]
        elif kind == "zipf":
            weights = [1 / rank for rank in range(1, len(models) + 1)]
            model = chooser.choices(models, weights)[0]
        else:
            raise ValueError(f"unknown stream {kind!r}")
        requests.append((model, chooser.randint(1, 8)))
    return requests


def drive(requests, concurrency, call, give_up_after):
    """Keeps `concurrency` requests in flight; `call(model, samples)` answers True when right.

    Returns {"seconds", "latencies" (s), "failed", "unfinished"}.
    """
    lock, latencies, failed = threading.Lock(), [], [0]
    position = [0]
    start = time.monotonic()

    def client():
        while True:
            with lock:
                index = position[0]
                if index >= len(requests) or time.monotonic() - start > give_up_after:
                    return
                position[0] += 1
            begin = time.monotonic()
            try:
                good = call(*requests[index])
            except Exception:  # a killed peer shows in as many ways as there are clients
                good = False
            with lock:
                if good:
                    latencies.append(time.monotonic() - begin)
                else:
                    failed[0] += 1

    threads = [threading.Thread(target=client) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "seconds": time.monotonic() - start,
        "latencies": latencies,
        "failed": failed[0],
        "unfinished": len(requests) - len(latencies) - failed[0],
    }


def summary(outcome):
    """Requests/s, mean and 99th percentile (ms) of an outcome of `drive`."""
    latencies = sorted(outcome["latencies"])
    if not latencies:
        return {"rate": 0.0, "mean_ms": None, "p99_ms": None}
    return {
        "rate": len(latencies) / outcome["seconds"],
        "mean_ms": 1e3 * statistics.fmean(latencies),
        "p99_ms": 1e3 * latencies[min(len(latencies) - 1, int(0.99 * len(latencies)))],
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")
