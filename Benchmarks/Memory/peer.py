"""onnxruntime as a user would serve with it: one queue, one session at a time, two threads.

Reads one JSON line {"models": {name: path}, "requests": [[name, samples]...], "warmup": [...],
"mode", "limit", "threads", "concurrency", "give_up_after"} from standard input and prints one JSON
line per state: {"ready": seconds} and the outcome of `workload.drive`.

Modes: `held` keeps every session; `mapped` keeps every session on weights that stay in the mapped
file (no pre-packing); `swap` and `swap-mapped` keep as many sessions as the limit allows and drop
the one used longest ago.
"""

import json
import os
import queue
import sys
import threading
import time

import numpy as np
import onnxruntime

from workload import drive


class Sessions:
    def __init__(self, job):
        self.paths, self.threads = job["models"], job["threads"]
        self.mapped = "mapped" in job["mode"]
        self.capacity = job["limit"] if job["mode"].startswith("swap") else None
        self.open, self.sizes = {}, {}

    def create(self, name):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        if self.mapped:
            options.add_session_config_entry("session.disable_prepacking", "1")
            options.enable_cpu_mem_arena = False
        return onnxruntime.InferenceSession(
            self.paths[name], options, providers=["CPUExecutionProvider"]
        )

    def size(self, name):
        """Bytes that a loaded model takes, read off its files: weights dominate."""
        if name not in self.sizes:
            folder = os.path.dirname(self.paths[name])
            stem = os.path.splitext(os.path.basename(self.paths[name]))[0]
            files = [f for f in os.listdir(folder) if os.path.splitext(f)[0] == stem]
            self.sizes[name] = sum(os.path.getsize(os.path.join(folder, f)) for f in files)
        return self.sizes[name]

    def get(self, name):
        if name in self.open:
            self.open[name] = self.open.pop(name)
            return self.open[name]
        if self.capacity is not None:
            # Activations and the process itself need about 250 MiB beside the weights.
            room = self.capacity - (250 << 20)
            while self.open and sum(map(self.size, self.open)) + self.size(name) > room:
                del self.open[next(iter(self.open))]
        self.open[name] = self.create(name)
        return self.open[name]


def main():
    job = json.loads(sys.stdin.readline())
    begin = time.monotonic()
    sessions = Sessions(job)
    if sessions.capacity is None:
        for name in job["models"]:
            sessions.get(name)
    print(json.dumps({"ready": time.monotonic() - begin}), flush=True)

    work = queue.Queue()

    def worker():
        image = np.random.default_rng(1).random((8, 3, 224, 224), np.float32)
        while (item := work.get()) is not None:
            name, samples, done, answer = item
            try:
                session = sessions.get(name)
                result = session.run(None, {session.get_inputs()[0].name: image[:samples]})
                answer.append(len(result[0]) == samples)
            finally:
                done.set()

    thread = threading.Thread(target=worker, daemon=True)
    thread.start()

    def call(name, samples):
        done, answer = threading.Event(), []
        work.put((name, samples, done, answer))
        done.wait()
        return bool(answer and answer[0])

    drive(job["warmup"], job["concurrency"], call, job["give_up_after"])
    outcome = drive(job["requests"], job["concurrency"], call, job["give_up_after"])
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
