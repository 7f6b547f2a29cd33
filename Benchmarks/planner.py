#!/usr/bin/env python3
"""Checks the planner against an independent oracle and replays its steps.

    swift build -c release --product stowage
    python3 Benchmarks/planner.py [--stowage PATH] [--instances 320] [--seed 1]

Everything here is written apart from the planner: the replay checker, the exhaustive search (plain
Dijkstra without bounds, on purpose) and VGG-16 with its two device models. The numbers that it prints are
those of Benchmarks/Results/planner.md.
"""
import argparse
import heapq
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile

TOLERANCE = 1e-6


def run(stowage, instance, *options):
    """The plan of an instance, or the error's text."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
        json.dump(instance, file)
    try:
        done = subprocess.run(
            [stowage, "plan", "--instance", file.name, "--format", "json", *options],
            capture_output=True, text=True, check=False)
    finally:
        os.unlink(file.name)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def kernels(layer):
    plain = {"weights_mb": layer["weights_mb"], "scratch_mb": 0, "cost_ms": layer["cost_ms"]}
    return [plain] + [{**plain, **variant} for variant in layer.get("variants", [])]


def cost(curve, samples):
    if "table" not in curve:
        return curve["fixed"] + curve["per_sample"] * samples
    return dict(map(tuple, curve["table"]))[samples]


# ---------------------------------------------------------------------------------------- replay

def replay(instance, plan):
    """Raises AssertionError unless the steps can happen as they are printed."""
    layers, samples = instance["layers"], instance["samples"]
    chosen = [kernels(l)[k] for l, k in zip(layers, plan["variants"])]
    page = instance.get("page_mb")
    last = len(layers) - 1
    waiting = [samples] + [0] * len(layers)
    resident = [0.0] * len(layers)
    arrives = [0.0] * len(layers)
    link, clock, total = 0.0, 0.0, 0.0
    for step in plan["steps"]:
        layer, batch = step["layer"], step["samples"]
        kernel = chosen[layer]
        for drop in step["evict"]:
            resident[drop["layer"]] -= drop["mb"]
            assert resident[drop["layer"]] >= -TOLERANCE, "evicts what is not resident"
        for move in step["page_in"]:
            where = move["layer"]
            assert move["start_ms"] >= link - TOLERANCE, "two transfers at a time"
            assert move["start_ms"] >= clock - TOLERANCE, "a transfer before the step before is over"
            assert move["start_ms"] <= step["end_ms"] + TOLERANCE, "a transfer after its step"
            expected = instance["link_latency_ms"] + move["mb"] / instance["link_mb_per_ms"]
            assert abs(move["end_ms"] - move["start_ms"] - expected) < TOLERANCE, "transfer time"
            if not instance["prefetch"]:
                assert move["end_ms"] <= step["start_ms"] + TOLERANCE, "overlap without prefetch"
            link = move["end_ms"]
            resident[where] += move["mb"]
            arrives[where] = link
            assert resident[where] <= chosen[where]["weights_mb"] + TOLERANCE, "paged in twice"
            if page is None:
                assert abs(move["mb"] - chosen[where]["weights_mb"]) < TOLERANCE, "part of a layer"
        assert abs(resident[layer] - kernel["weights_mb"]) < TOLERANCE, "weights are not there"
        assert step["start_ms"] >= max(clock, arrives[layer]) - TOLERANCE, "starts too early"
        assert 1 <= batch <= waiting[layer], "samples have not come so far"
        held = sum(waiting[i] * layers[i - 1]["activation_mb"] for i in range(1, len(layers)))
        output = batch * layers[layer]["activation_mb"] if layer < last else 0
        used = sum(resident) + held + output + kernel["scratch_mb"]
        assert used <= instance["memory_mb"] + TOLERANCE, "memory is exceeded"
        took = step["end_ms"] - step["start_ms"]
        assert abs(took - cost(kernel["cost_ms"], batch)) < TOLERANCE, "time of the step"
        waiting[layer] -= batch
        waiting[layer + 1] += batch
        clock = step["end_ms"]
        if layer == last:
            total += batch * clock
    assert waiting[-1] == samples, "not all samples are through"
    assert abs(plan["makespan_ms"] - clock) < TOLERANCE, "makespan"
    assert abs(plan["sum_completion_ms"] - total) < TOLERANCE, "sum of completions"
    value = clock if instance["objective"] == "makespan" else total
    assert plan["lower_bound_ms"] <= value + TOLERANCE, "below its own bound"
    return value


# ---------------------------------------------------------------------------------------- oracle

def oracle(instance):
    """The least objective over all plans, or None when there is none."""
    choices = itertools.product(*(kernels(layer) for layer in instance["layers"]))
    values = [oracle_of_kernels(instance, choice) for choice in choices]
    return min((v for v in values if v is not None), default=None)


def oracle_of_kernels(instance, chosen):
    """Dijkstra over (samples at each border, resident layers, transfer under way).

    The objective never falls along a plan. A state's price is the objective so far and how long the
    link is still busy; with prefetch both matter, so a state keeps its undominated prices.
    """
    layers, n = instance["layers"], instance["samples"]
    size = len(layers)
    weight = [k["weights_mb"] for k in chosen]
    hold = [0] + [l["activation_mb"] for l in layers[:-1]]
    output = [l["activation_mb"] for l in layers[:-1]] + [0]
    move = [instance["link_latency_ms"] + w / instance["link_mb_per_ms"] if w > 0 else 0
            for w in weight]
    is_sum = instance["objective"] == "sum"
    start = ((n,) + (0,) * (size - 1), frozenset(i for i in range(size) if weight[i] == 0), None)
    heap, ticket, known = [(0.0, 0.0, 0, start)], 0, {}
    while heap:
        so_far, busy, _, state = heapq.heappop(heap)
        counts, resident, flying = state
        left = sum(counts)
        if left == 0:
            return so_far
        if any(v <= so_far + 1e-12 and b <= busy + 1e-12 for v, b in known.get(state, ())):
            continue
        known.setdefault(state, []).append((so_far, busy))
        held = sum(c * h for c, h in zip(counts, hold))
        for layer, here in enumerate(counts):
            for batch in range(1, here + 1):
                frame = (instance["memory_mb"] - held - batch * output[layer]
                         - chosen[layer]["scratch_mb"] + 1e-9)
                time = cost(chosen[layer]["cost_ms"], batch)
                after = list(counts)
                after[layer] -= batch
                if layer + 1 < size:
                    after[layer + 1] += batch
                for ready, ends, got, last in page_ins(
                        instance, layer, busy, flying, resident, move, time, size):
                    must = got | {layer} | ({flying} if flying is not None else set())
                    base = sum(weight[i] for i in must)
                    if base > frame:
                        continue
                    others = [i for i in resident if i not in must]
                    for keep in kept_sets(others, weight, frame - base):
                        end = ready + time
                        rest = max(ends - end, 0.0)
                        fly = last if rest > 1e-12 else None
                        nxt = (tuple(after), frozenset(must | keep), fly)
                        pace = left if is_sum else 1
                        ticket += 1
                        heapq.heappush(heap, (so_far + pace * end, rest, ticket, nxt))
    return None


def page_ins(instance, layer, busy, flying, resident, move, time, size):
    """(when the step starts, when the link ends, what came in, the last of it), in all ways."""
    if layer in resident:
        first, ready, link = [], busy if flying == layer else 0.0, busy
    else:
        first, ready, link = [layer], busy + move[layer], busy + move[layer]
    yield ready, link, set(first), first[-1] if first else flying
    if not instance["prefetch"]:
        return
    others = [i for i in range(size) if i not in resident and i != layer]
    for count in range(1, len(others) + 1):
        for order in itertools.permutations(others, count):
            ends, fits = link, True
            for other in order:
                fits = fits and ends < ready + time
                ends += move[other]
            if fits:
                yield ready, ends, set(first) | set(order), order[-1]


def kept_sets(others, weight, room):
    """All sets of layers that fit: keeping more is never worse, but here nothing is taken on trust
    except that a set need not be tried when all fit."""
    if sum(weight[i] for i in others) <= room:
        return [set(others)]
    sets = []
    for count in range(len(others)):
        for chosen in itertools.combinations(others, count):
            if sum(weight[i] for i in chosen) <= room:
                sets.append(set(chosen))
    return [s for s in sets if not any(s < t for t in sets)]


# ------------------------------------------------------------------------------- random instances

def random_instance(rng, objective, prefetch):
    count = rng.randint(1, 4)
    layers = []
    for _ in range(count):
        layer = {
            "weights_mb": rng.choice([0, 1, 2, 5, 10, round(rng.uniform(0.5, 20), 2)]),
            "activation_mb": rng.choice([0.1, 0.5, 1, 3, round(rng.uniform(0.1, 8), 2)]),
            "cost_ms": {"fixed": rng.choice([0, 0.1, 0.5, 1, round(rng.uniform(0, 2), 2)]),
                        "per_sample": rng.choice([0, 0.2, 1, round(rng.uniform(0.05, 2), 2)])}}
        if rng.random() < 0.15:
            layer["variants"] = [{
                "weights_mb": round(layer["weights_mb"] * rng.uniform(1, 3), 2),
                "scratch_mb": round(rng.uniform(0, 4), 2),
                "cost_ms": {"fixed": layer["cost_ms"]["fixed"],
                            "per_sample": round(layer["cost_ms"]["per_sample"] * 0.5, 3)}}]
        layers.append(layer)
    samples = rng.randint(1, 4)
    least = max(
        l["weights_mb"] + (layers[i - 1]["activation_mb"] if i else 0)
        + (l["activation_mb"] if i < count - 1 else 0) for i, l in enumerate(layers))
    everything = sum(l["weights_mb"] for l in layers) + samples * sum(
        l["activation_mb"] for l in layers[:-1])
    memory = least + rng.random() ** 2 * max(everything - least, 0) * 1.1
    return {
        "layers": layers, "input_mb": round(rng.uniform(0, 2), 2), "samples": samples,
        "memory_mb": round(memory + 0.001, 3), "link_mb_per_ms": rng.choice([1, 5, 10]),
        "link_latency_ms": rng.choice([0, 0.03, 0.2]), "prefetch": prefetch,
        "objective": objective}


def statistics(stowage, count, seed, options):
    rows = []
    for objective, prefetch in itertools.product(["makespan", "sum"], [False, True]):
        rng = random.Random(f"{seed} {objective} {prefetch}")
        gaps = []
        for number in range(count):
            instance = random_instance(rng, objective, prefetch)
            plan = run(stowage, instance, *options)
            best = oracle(instance)
            if isinstance(plan, str):
                assert best is None, f"no plan, but {best} is possible: {plan} {instance}"
                continue
            try:
                value = replay(instance, plan)
            except AssertionError as error:
                sys.exit(f"instance {number}: {error}\n{json.dumps(instance)}\n{json.dumps(plan)}")
            assert best is not None and value >= best - TOLERANCE, f"beats the oracle: {instance}"
            assert plan["lower_bound_ms"] <= best + TOLERANCE, f"bound is wrong: {instance}"
            gaps.append(value / best - 1 if best > 0 else 0.0)
        optimal = sum(g < 1e-6 for g in gaps) / len(gaps)
        rows.append((objective, "yes" if prefetch else "no", len(gaps), optimal,
                     sum(gaps) / len(gaps), max(gaps)))
        print("  ".join(map(str, rows[-1])), flush=True)
    return rows


# ------------------------------------------------------------------------------------------ VGG-16

def vgg16(device, memory, samples=32, page=2.0, prefetch=True):
    flops, bandwidth, launch, link, latency = device
    layers, side, before = [], 224, 3

    def add(name, weights, work, read, written):
        points = []
        for b in range(1, samples + 1):
            time = max(b * work / flops, (weights + b * (read + written)) / bandwidth)
            points.append([b, launch + time])
        layers.append({"name": name, "weights_mb": weights, "activation_mb": written,
                       "cost_ms": {"table": points}})

    for block, (convs, width) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]):
        for conv in range(convs):
            pixels = side * side
            add(f"conv{block + 1}_{conv + 1}", (9 * before * width + width) * 4e-6,
                2e-9 * 9 * before * width * pixels, pixels * before * 4e-6, pixels * width * 4e-6)
            before = width
        add(f"pool{block + 1}", 0, 0, side * side * width * 4e-6, side * side * width * 1e-6)
        side //= 2
    for name, inputs, outputs in [("fc6", 25088, 4096), ("fc7", 4096, 4096), ("fc8", 4096, 1000)]:
        add(name, (inputs + 1) * outputs * 4e-6, 2e-9 * inputs * outputs, inputs * 4e-6,
            outputs * 4e-6)
    instance = {"layers": layers, "input_mb": 0.602, "samples": samples, "memory_mb": memory,
                "link_mb_per_ms": link, "link_latency_ms": latency, "prefetch": prefetch,
                "objective": "makespan"}
    if page:
        instance["page_mb"] = page
    return instance


# GFLOP per ms, MB per ms, ms a launch, MB per ms of the link, ms a page-in.
DEVICES = {"12 TFLOP/s, 600 GB/s, link 12 GB/s": (12.0, 600.0, 0.02, 12.0, 0.03),
           "0.9 TFLOP/s, 100 GB/s, NVMe 2.5 GB/s": (0.9, 100.0, 0.02, 2.5, 0.03)}
NOTE = {("12 TFLOP/s, 600 GB/s, link 12 GB/s", 450): 91.1,
        ("12 TFLOP/s, 600 GB/s, link 12 GB/s", 512): 85.9,
        ("12 TFLOP/s, 600 GB/s, link 12 GB/s", 640): 85.1,
        ("12 TFLOP/s, 600 GB/s, link 12 GB/s", 1024): 85.0}


def vgg_table(stowage, options):
    rows = []
    for name, device in DEVICES.items():
        for memory in [450, 512, 640, 1024]:
            for page in [2.0, None]:
                instance = vgg16(device, memory, page=page)
                plan = run(stowage, instance, *options)
                if isinstance(plan, str):
                    print(plan)
                    continue
                replay(instance, plan)
                rows.append((name, memory, "2 MB" if page else "whole layers",
                             plan["makespan_ms"], plan["lower_bound_ms"],
                             plan["makespan_ms"] / plan["lower_bound_ms"] - 1))
                print("  ".join(map(str, rows[-1])), flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stowage", default=".build/release/stowage")
    parser.add_argument("--instances", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--effort", choices=["thorough", "nest", "quick"], default="thorough")
    parser.add_argument("--only", choices=["random", "vgg"])
    arguments = parser.parse_args()
    options = ["--effort", arguments.effort]
    if arguments.only != "vgg":
        statistics(arguments.stowage, arguments.instances, arguments.seed, options)
    if arguments.only != "random":
        vgg_table(arguments.stowage, options)


if __name__ == "__main__":
    main()
