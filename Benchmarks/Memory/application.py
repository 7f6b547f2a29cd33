#!/usr/bin/env python3
"""Response time of an application by memory and compute units, under five policies: measured on
the CPU backend, with the simulator's prediction beside each.

    python3 Benchmarks/Memory/application.py --stowage PATH --models FOLDER --work FOLDER
        [--memory 100 75 50 35] [--units 2 1] [--repetitions 1 2 3] [--report]

The application: VGG-19, AlexNet, ResNet-50 and DenseNet-121 (Benchmarks/Networks/randomize.py
makes them), four requests of one sample each, all 16 at once; its response time is that of the
last answer. Memory is `--memory` of the server, the process and all, in per cent of 1,163 MiB.
Policies take turns within a repetition; each has a fresh server, a burst to get warm and two that
count. Cells that were measured before are kept in Benchmarks/Results/application.json, so that a
run can be continued; --report only simulates and draws.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess

import burst

RESULTS = pathlib.Path(__file__).resolve().parent.parent / "Results"
COUNTS = {name: 4 for name in burst.MODELS}
POLICIES = {
    "no-batching": "no batching", "dynamic-batching": "whole-model batches",
    "barm": "BARM (reconstructed)", "thesis": "thesis (reconstructed)", "stowage": "Stowage",
}


# What needs no kernels for several samples gets warm with one request a network.
WARM = {name: {model: 1 for model in burst.MODELS} for name in ("no-batching", "barm")}


def flags(policy):
    return [] if policy == "stowage" else ["--policy", policy]


def interference(arguments):
    """How much slower each of two runs on one core each is beside the other."""
    def best(processes):
        times = []
        for _ in range(5):
            for process in processes:
                process.stdin.write("time 1\n")
                process.stdin.flush()
            times.append(sum(int(process.stdout.readline().split()[1]) for process in processes))
        return min(times) / len(processes)

    image, output = arguments.work / "image", arguments.work / "output"
    burst.np.random.default_rng(0).random((1, 3, 224, 224), burst.np.float32).tofile(image)
    processes = []
    for _ in range(2):
        command = [arguments.stowage, "bench", str(arguments.models / "vgg19.onnx")]
        processes.append(subprocess.Popen(
            command + ["--units", "1", "--max-batch", "1"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True))
        processes[-1].stdout.readline()
        processes[-1].stdin.write(f"run 1 {image} {output}\n")
        processes[-1].stdin.flush()
        processes[-1].stdout.readline()
    alone, together = best(processes[:1]), best(processes)
    for process in processes:
        process.stdin.close()
        process.wait()
    return max(together / alone - 1, 0)


def slowdown(arguments, units):
    """How much longer computing takes while packed weights are read at the full rate of the disk.

    Both in turn; the median of five turns.
    """
    image, output = arguments.work / "image", arguments.work / "output"
    burst.np.random.default_rng(0).random((1, 3, 224, 224), burst.np.float32).tofile(image)
    weights = max((arguments.work / "cache").glob("vgg19*.weights"), key=lambda f: f.stat().st_size)
    reading = [
        "sh", "-c", 'while dd if="$0" of=/dev/null bs=16M iflag=direct 2>/dev/null; do :; done',
        str(weights)]
    command = [arguments.stowage, "bench", str(arguments.models / "vgg19.onnx"), "--max-batch", "1"]
    process = subprocess.Popen(command + ["--units", str(units)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    process.stdout.readline()

    def tell(line):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return int(process.stdout.readline().split()[1])

    tell(f"run 1 {image} {output}")
    ratios = []
    for _ in range(5):
        alone = sum(tell("time 1") for _ in range(5))
        reader = subprocess.Popen(reading, start_new_session=True)
        beside = sum(tell("time 1") for _ in range(5))
        os.killpg(reader.pid, signal.SIGTERM)
        reader.wait()
        ratios.append(beside / alone)
    process.stdin.close()
    process.wait()
    return max(statistics.median(ratios) - 1, 0)


def demand_rate(arguments, folders, units):
    """Bytes per second of page faults, as they delay answers: two requests a network one after the
    other in half of the memory, and with all weights resident.

    More than reading takes: what has just come from the disk is in no cache yet.
    """
    counts = {name: 2 for name in burst.MODELS}
    scarce, ample = (
        burst.measure(
            arguments.stowage, folders, counts, units, memory, flags("no-batching"))
        for memory in (burst.FULL // 2, 4 << 30))
    more = sum(one["makespan"] for one in scarce) - sum(one["makespan"] for one in ample)
    return sum(one["page_in_bytes"] for one in scarce) / more


def save(data):
    (RESULTS / "application.json").write_text(json.dumps(data, indent=1) + "\n")


def run(arguments, data):
    """Measures the cells that are missing."""
    folders = (arguments.models, arguments.work / "cache")
    if "interference" not in data:
        data["interference"] = interference(arguments)
        save(data)
    for repetition in arguments.repetitions:
        for units in arguments.units:
            for what, measure in (
                    ("demand", lambda: demand_rate(arguments, folders, units)),
                    ("slowdown", lambda: slowdown(arguments, units))):
                known = data[what].setdefault(str(units), [])
                if len(known) < repetition:
                    known.append(measure())
                    save(data)
        if repetition not in data["profiled"]:
            burst.profile(arguments.stowage, arguments.models, 2, 8, arguments.work, again=True)
            data["profiled"].append(repetition)
            save(data)
        for memory in arguments.memory:
            for units in arguments.units:
                for policy in POLICIES:
                    key = f"{repetition} {memory} {units} {policy}"
                    if key in data["cells"]:
                        continue
                    found = burst.measure(
                        arguments.stowage, folders, COUNTS, units, burst.FULL * memory // 100,
                        flags(policy), bursts=2, warm=WARM.get(policy))
                    data["cells"][key] = found
                    save(data)
                    print(key, " ".join(f"{one['makespan']:.3f}" for one in found), flush=True)


def rate(bursts):
    return sum(b["page_in_bytes"] for b in bursts) / sum(b["page_in_seconds"] for b in bursts)


def cells(data, memory, units, policy):
    """Measured bursts of one bar."""
    return [
        one for key, found in data["cells"].items() for one in found
        if key.split(" ", 1)[1] == f"{memory} {units} {policy}"
    ]


def predict(arguments, data):
    """Simulates every bar with this machine's profile; returns rows for the report."""
    profiles = burst.profile(arguments.stowage, arguments.models, 2, 8, arguments.work)
    # The link beside computing: the same for all of the bars, as far as they were measured.
    link = rate([
        one for key, found in data["cells"].items() if key.endswith(" stowage")
        for one in found if one["page_in_bytes"]])
    data["link"] = link
    rows = []
    for units in arguments.units:
        for memory in arguments.memory:
            for policy in POLICIES:
                found = cells(data, memory, units, policy)
                if not found:
                    continue
                machine = burst.device(
                    units, link, statistics.median(data["demand"][str(units)]),
                    data["interference"], statistics.median(data["slowdown"][str(units)]))
                plans = statistics.median(one["plans_bytes"] for one in found)
                predicted = burst.simulate(
                    arguments.stowage, profiles, COUNTS, machine, units, plans, policy,
                    WARM.get(policy))
                times = [one["makespan"] for one in found]
                rows.append({
                    "units": units, "memory": memory, "policy": policy,
                    "measured": statistics.median(times), "least": min(times), "most": max(times),
                    "predicted": predicted["makespan"],
                    "mean": statistics.median(one["mean"] for one in found),
                    "mean_predicted": predicted["mean"],
                    "paged_mb": statistics.median(one["page_in_bytes"] for one in found) / 1e6,
                    "paged_predicted_mb": predicted["page_in_bytes"] / 1e6,
                    "peak_mib": max(one["peak_bytes"] for one in found) / 2**20,
                    "bursts": len(found),
                })
    return rows


def differing(data):
    """Models whose answers are not the same bits under policies that give a run all units.

    Products on one of two units add in another order than those on both.
    """
    digests = {}
    for key, found in data["cells"].items():
        _, _, units, policy = key.split()
        if units == "1" or policy not in ("barm", "thesis"):
            for one in found:
                for name, digest in one["digests"].items():
                    digests.setdefault((name, units), set()).add(digest)
    return [key for key, known in digests.items() if len(known) > 1]


def table(rows):
    lines = [
        "| units | memory | policy | response s (spread) | predicted s | error | mean s "
        "| predicted s | paged in MB | predicted MB | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        error = row["predicted"] / row["measured"] - 1
        lines.append(
            f"| {row['units']} | {row['memory']} % | {POLICIES[row['policy']]} "
            f"| {row['measured']:.2f} ({row['least']:.2f}-{row['most']:.2f}) "
            f"| {row['predicted']:.2f} | {error:+.0%} | {row['mean']:.2f} "
            f"| {row['mean_predicted']:.2f} | {row['paged_mb']:,.0f} "
            f"| {row['paged_predicted_mb']:,.0f} | {row['peak_mib']:,.0f} |"
        )
    errors = [abs(row["predicted"] / row["measured"] - 1) for row in rows]
    lines += ["", "Prediction of the response time: mean absolute error "
              f"{statistics.mean(errors):.1%}, worst {max(errors):.1%}, {len(errors)} bars."]
    return "\n".join(lines) + "\n"


def draw(rows, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plot

    numbers = sorted({row["units"] for row in rows})
    memories = sorted({row["memory"] for row in rows}, reverse=True)
    figure, axes = plot.subplots(1, len(numbers), figsize=(11, 4.2), squeeze=False,
                                 sharey=True)
    colours = ["#b8bcc4", "#8a93a3", "#d9a05b", "#c2574a", "#2a6fb0"]
    for axis, units in zip(axes[0], numbers):
        for place, (policy, name) in enumerate(POLICIES.items()):
            chosen = {r["memory"]: r for r in rows if (r["units"], r["policy"]) == (units, policy)}
            known = [(at, chosen[memory]) for at, memory in enumerate(memories) if memory in chosen]
            at = [index + (place - 2) * 0.17 for index, _ in known]
            heights = [row["measured"] for _, row in known]
            spread = [[row["measured"] - row["least"] for _, row in known],
                      [row["most"] - row["measured"] for _, row in known]]
            axis.bar(at, heights, 0.16, color=colours[place], label=name, yerr=spread,
                     error_kw={"elinewidth": 0.8, "ecolor": "#444444"})
            axis.plot(at, [row["predicted"] for _, row in known], "D", color="black",
                      markerfacecolor="white", markersize=4,
                      label="simulated" if place == 4 else None)
        axis.set_xticks(range(len(memories)), [f"{memory} %" for memory in memories])
        axis.set_title(f"{units} compute unit{'s' if units > 1 else ''}", fontsize=11)
        axis.set_xlabel("memory of the server, 100 % = 1,163 MiB")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("response time of the application, s")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, ncols=6, loc="upper center")
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stowage", required=True)
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="packed weights, profiles")
    parser.add_argument("--memory", type=int, nargs="+", default=[100, 75, 50, 35])
    parser.add_argument("--units", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repetitions", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--report", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "application.json"
    data = json.loads(path.read_text()) if path.exists() else {
        "cells": {}, "profiled": [], "demand": {}, "slowdown": {}}
    if not arguments.report:
        run(arguments, data)
    data["rows"] = predict(arguments, data)
    save(data)
    different = differing(data)
    print(table(data["rows"]))
    print(f"models whose answers differ between bursts: {different or 'none'}")
    draw(data["rows"], RESULTS / "application.png")


if __name__ == "__main__":
    main()
