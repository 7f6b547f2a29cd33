"""Convolutions: the own kernel, cuDNN and sums in double; whole networks by share and batch."""

import networks
from cudnn import CuDNN
from driver import Graph, Ladder, Primary
from partitions import attempt
from stack import Bench, PerPartition, Stack, TILES, packed, time_repeated, timed_graph

BATCHES = (1, 2, 4, 8, 16, 32, 64)
TUNED = (132, 64, 24, 8)   # shares at which sizes of tiles are chosen; others take the nearest


def name(layer):
    return layer.title() + ("" if layer.relu else "-")


def each_layer():
    for network, layers in networks.NETWORKS.items():
        for layer in networks.distinct(layers):
            yield network, layer


def convolutions(gpu, save, context):
    """Every layer shape: the best own kernel and cuDNN's first plans, time and error."""
    ladder = Ladder(gpu)
    whole = ladder.whole()
    bench, library = Bench(gpu, whole.stream), CuDNN()
    handle = PerPartition(gpu, library).handle(whole)
    result = {"rows": []}
    gpu.cuCtxSetCurrent(whole.context)
    for network, layer in each_layer():
        bench.prepare(layer)
        for batch in (1, 64):
            row = {"network": network, "layer": name(layer), "batch": batch,
                   "gflop": layer.flops(batch) / 1e9, "mb": layer.bytes(batch) / 1e6}
            result["rows"].append(row)
            own_row(bench, whole, layer, batch, row)
            cudnn_row(bench, whole, library, handle, layer, batch, row)
            save("convolutions", result)
    save("convolutions", result)


def own_row(bench, whole, layer, batch, row):
    found = bench.tune(layer, batch, whole)
    row["own_us"], (tile, splits) = found[0]
    row["own_kernel"] = f"{TILES[tile].name} /{splits}"
    count = bench.poison(layer, batch)
    work = bench.own(layer, batch, (tile, splits))
    work(bench.stream)
    row["own_error"] = bench.error(layer, batch, count)
    first = bytes_of(bench, count)
    bench.poison(layer, batch)
    work(bench.stream)
    row["own_repeats"] = first == bytes_of(bench, count)


def bytes_of(bench, count):
    return bench.gpu.bytes(bench.at.y, min(2 * count, 1 << 20), bench.stream)


def cudnn_row(bench, whole, library, handle, layer, batch, row):
    """The plan that cuDNN puts first, and the best of its first four."""
    results = []
    for choice in range(4):
        found = attempt(
            lambda: cudnn_choice(bench, whole, library, handle, layer, batch, choice, True))
        if isinstance(found, str):
            row.setdefault("cudnn_refused", []).append(found)
            continue
        us, plan, error = found
        results.append(us)
        if "cudnn_us" not in row:
            row |= {"cudnn_us": us, "cudnn_error": error, "cudnn_engine": plan.engine()[0]}
    row["cudnn_best_us"] = min(results, default=None)


def cudnn_choice(bench, partition, library, handle, layer, batch, choice, checked=False):
    """(microseconds, plan, error) of one of cuDNN's configurations."""
    plan = library.plan(networks.shape(layer, batch), layer, handle=handle, choice=choice)
    pack, error = packed(plan, layer, bench.at, bench.scratch), None
    if checked:
        count = bench.poison(layer, batch)
        plan.run(handle, pack)
        error = bench.error(layer, batch, count)
    return time_repeated(bench.gpu, partition.stream, lambda s: plan.run(handle, pack)), plan, error


def cudnn_plans(bench, partition, library, handle, result):
    """The best of cuDNN's first three plans for each layer and batch, made for this partition."""
    plans = {}
    for network, layer in each_layer():
        for batch in BATCHES:
            found = [attempt(lambda: cudnn_choice(bench, partition, library, handle, layer, batch,
                                                  choice)) for choice in range(3)]
            found = [each for each in found if not isinstance(each, str)]
            if found:
                best = min(found, key=lambda each: each[0])
                plans[layer.key(), batch] = best[1]
                result["cudnn_layers"]["rows"].append(
                    [network, name(layer), batch, partition.multiprocessors,
                     round(found[0][0], 2), round(best[0], 2), best[1].engine()[0]])
    return plans


def tuned(gpu, ladder, bench, save, result):
    """choices[share][layer, batch]; each layer's best time by share and batch goes to `result`."""
    choices = {}
    result["own_layers"] = {"columns": ["network", "layer", "batch", "sm", "us", "tile", "parts"],
                            "rows": []}
    for share in TUNED:
        partition = ladder.share(share)
        choices[share] = {}
        for network, layer in each_layer():
            bench.prepare(layer)
            gpu.cuStreamSynchronize(bench.stream)
            for batch in BATCHES:
                us, choice = bench.tune(layer, batch, partition)[0]
                choices[share][name(layer), batch] = choice
                result["own_layers"]["rows"].append(
                    [network, name(layer), batch, partition.multiprocessors, round(us, 2),
                     TILES[choice[0]].name, choice[1]])
        save("shares", result)
        print("tuned at", share, flush=True)
    return choices


def shares(gpu, save, context):
    """Whole networks, the own kernel and cuDNN, by multiprocessors and batch."""
    ladder, result = Ladder(gpu), {"stacks": []}
    result["cudnn_layers"] = {
        "columns": ["network", "layer", "batch", "sm", "first_us", "best_us", "engine"], "rows": []}
    bench, library = Bench(gpu, ladder.whole().stream), CuDNN()
    handles = PerPartition(gpu, library)
    choices = tuned(gpu, ladder, bench, save, result)
    stacks = {key: Stack(gpu, ladder.whole().stream, key, 64) for key in networks.NETWORKS}
    result["together"] = attempt(
        lambda: together(gpu, ladder, stacks, makers(gpu, stacks, choices, library, handles)))
    save("shares", result)
    places = [("primary", Primary(gpu))] + [("green", ladder.share(s)) for s in context["shares"]]
    for place, partition in places:
        nearest = closest(partition)
        gpu.cuCtxSetCurrent(partition.context)
        try:
            handle = handles.handle(partition)
            plans = cudnn_plans(bench, partition, library, handle, result)
            for key, stack in stacks.items():
                for batch in BATCHES:
                    work = {
                        "own": lambda: stack.own(
                            batch, lambda l, n: choices[nearest][name(l), n]),
                        "cudnn": lambda: stack.cudnn(
                            library, handle, [plans[l.key(), batch] for l in stack.layers])}
                    row = stack_row(gpu, partition, key, batch, work)
                    result["stacks"].append({"place": place} | row)
        finally:
            gpu.cuCtxSetCurrent(gpu.primary)
        save("shares", result)
        print("stacks at", partition.multiprocessors, flush=True)


def closest(partition):
    """The share whose tiles a partition uses."""
    return min(TUNED, key=lambda share: abs(share - partition.multiprocessors) / share)


def stack_row(gpu, partition, key, batch, work):
    row = {"network": key, "batch": batch, "sm": partition.multiprocessors}
    for kind, make in work.items():
        found = attempt(lambda: timed_graph(gpu, partition.stream, make()))
        if isinstance(found, str):
            row[kind + "_refused"] = found
        else:
            row |= {kind + "_us": round(found[0], 1), kind + "_spread": round(found[1], 3)}
    return row


def makers(gpu, stacks, choices, library, handles):
    """Functions that make a network's work for a partition: the own kernel, cuDNN's first plans."""
    def own(partition, key, batch):
        picks = choices[closest(partition)]
        return stacks[key].own(batch, lambda l, n: picks[name(l), n])

    def cudnn(partition, key, batch):
        handle, made = handles.handle(partition), {}
        for layer in networks.distinct(stacks[key].layers):
            made[layer] = library.plan(networks.shape(layer, batch), layer, handle=handle)
        return stacks[key].cudnn(library, handle, [made[l.key()] for l in stacks[key].layers])
    return {"own": own, "cudnn": cudnn}


PAIR = (("resnet50", 8), ("vgg19", 16))


def together(gpu, ladder, stacks, makers):
    """Two networks at once in disjoint partitions, and with the second one everywhere: each one's
    time over its time alone in its partition."""
    rows = []
    for kind, make in makers.items():
        for k in (2, 4, 8, 12):
            for where in ("rest", "everywhere"):
                pair = ladder.first(k), ladder.rest(k) if where == "rest" else ladder.whole()
                row = {"kernels": kind, "sm": [p.multiprocessors for p in pair], "second": where}
                rows.append(row)
                runs = []
                for partition, (key, batch) in zip(pair, PAIR):
                    gpu.cuCtxSetCurrent(partition.context)
                    work = make(partition, key, batch)
                    work(partition.stream)   # loads what is loaded at first use
                    graph = Graph(gpu, partition.stream, work)
                    runs.append((partition.stream, graph, gpu.median(partition.stream, graph, 9)))
                gpu.cuCtxSetCurrent(gpu.primary)
                for (key, batch), run, other in zip(PAIR, runs, runs[::-1]):
                    row[f"{key}_b{batch}"] = beside(gpu, run, other)
                for _, graph, _ in runs:
                    graph.close()
    return rows


def beside(gpu, run, other):
    """How much slower `run` is while `other` goes on."""
    stream, graph, alone = run
    for _ in range(min(300, int(15 * alone * 4 / other[2]) + 3)):
        other[1](other[0])
    with_other = gpu.median(stream, graph, 9)
    busy = gpu.library.cuStreamQuery(other[0]) == 600
    gpu.cuStreamSynchronize(other[0])
    return {"alone_us": round(alone, 1), "slower": round(with_other / alone, 3),
            "other_was_running": busy}
