#!/usr/bin/env python3
"""Asks one GPU what the design of the GPU backend depends on.

    python3 probe.py --out FOLDER [--only NAME ...] [--seconds 480] [--budget 0.5]

Needs the driver (libcuda.so.1), NVRTC and cuDNN 9 (the wheels nvidia-cuda-nvrtc and
nvidia-cudnn-cu13) and a C compiler. Each question runs in a process of its own, so that a failure
of one leaves the others alone. Writes gpu-probe.json, gpu-shares.json and gpu-cudnn-device.json.
Takes less than 12 GiB of device memory, no managed memory, and changes no setting of the device.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

import driver
import layers
import paging
import partitions
import report
import transfers

QUESTIONS = {
    # name: (function, seconds it may take)
    "device": (partitions.device, 60), "partitions": (partitions.partitions, 60),
    "cudnn": (partitions.cudnn, 90), "graphs": (partitions.graphs, 60),
    "transfers": (transfers.transfers, 90), "paging": (paging.paging, 120),
    "convolutions": (layers.convolutions, 120), "shares": (layers.shares, 280),
}


def save_to(path):
    """Writes what is known so far; a question calls it as it goes."""
    def save(name, result):
        with open(path + ".new", "w") as file:
            json.dump(result, file)
        os.replace(path + ".new", path)
    return save


def every_partition(ladder):
    for k in range(1, ladder.count):
        yield ladder.first(k)
        yield ladder.rest(k)
    yield ladder.whole()


def answer(name, folder, budget):
    """One question, in this process."""
    if name == "paging":
        # Loading a kernel at its first launch may wait for a kernel that waits for a page.
        os.environ["CUDA_MODULE_LOADING"] = "EAGER"
    with open(os.path.join(folder, "kernels.cubin"), "rb") as file:
        gpu = driver.GPU(file.read())
    with open(os.path.join(folder, "nvrtc")) as file:
        nvrtc = file.read()
    context = {
        "host": os.path.join(folder, "host.so"), "nvrtc": nvrtc, "budget": budget,
        "device_json": os.path.join(folder, "cudnn-device.json"), "partitions": every_partition,
        "shares": (8, 16, 24, 32, 48, 64, 80, 96, 112, 120, 132)}
    QUESTIONS[name][0](gpu, save_to(os.path.join(folder, name + ".json")), context)


def prepare(folder):
    began = time.perf_counter()
    code, path = driver.compile_kernels()
    with open(os.path.join(folder, "kernels.cubin"), "wb") as file:
        file.write(code)
    with open(os.path.join(folder, "nvrtc"), "w") as file:
        file.write(path)
    print(f"kernels compiled in {time.perf_counter() - began:.1f} s by {path}", flush=True)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", os.path.join(folder, "host.so"),
                    os.path.join(driver.HERE, "host.c")], check=True)


def ask(name, folder, seconds, arguments):
    """Runs a question in a process; (what it wrote, seconds, what went wrong or None)."""
    began, failed = time.perf_counter(), None
    command = [sys.executable, os.path.abspath(__file__), "--answer", name, "--out", folder,
               "--budget", str(arguments.budget)]
    try:
        status = subprocess.run(command, timeout=seconds).returncode
        failed = f"ended with status {status}" if status else None
    except subprocess.TimeoutExpired:
        failed = f"stopped after {seconds:.0f} s"
    result, path = {}, os.path.join(folder, name + ".json")
    if os.path.exists(path):
        with open(path) as file:
            result = json.load(file)
    return result, time.perf_counter() - began, failed


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


def write(folder, results):
    """The table by share is a file of its own: device profiles are made of it."""
    for file, part in (("gpu-probe.json", {k: v for k, v in results.items() if k != "shares"}),
                       ("gpu-shares.json", results.get("shares"))):
        if part:
            with open(os.path.join(folder, file), "w") as target:
                lines = json.dumps(part, ensure_ascii=False).replace("}, {", "},\n{")
                target.write(lines.replace("], [\"", "],\n[\"") + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", nargs="*", default=list(QUESTIONS))
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--budget", type=float, default=0.5)
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer:
        try:
            return answer(arguments.answer, arguments.out, arguments.budget)
        except Exception:
            traceback.print_exc()
            sys.exit(1)
    end, results = time.monotonic() + arguments.seconds, {}
    folder = tempfile.mkdtemp()
    prepare(folder)
    for name in arguments.only:
        seconds = min(QUESTIONS[name][1], end - time.monotonic())
        if seconds < 10:
            print(name, "not asked: no time left", flush=True)
            continue
        result, took, failed = ask(name, folder, seconds, arguments)
        print(f"{name}: {took:.1f} s" + (f", FAILED: {failed}" if failed else ""), flush=True)
        results[name] = rounded(result) | {"seconds": round(took, 1), "failed": failed}
        write(arguments.out, results)
    fixture = os.path.join(folder, "cudnn-device.json")
    if os.path.exists(fixture):
        shutil.copy(fixture, os.path.join(arguments.out, "gpu-cudnn-device.json"))
    report.show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
