"""The device, its green contexts, cuDNN and CUDA graphs on them."""

import ctypes as c
import hashlib
import json
import statistics
import subprocess
import time
from dataclasses import dataclass

import networks
from cudnn import CuDNN
from driver import Graph, Ladder, Primary, Refused, number, pointer, size, word64
from stack import Bench, PerPartition, packed, time_repeated

MIB = 1 << 20


def spent(work):
    """(microseconds, result) by the host's clock."""
    began = time.perf_counter()
    result = work()
    return (time.perf_counter() - began) * 1e6, result


def attempt(work):
    """The result, or why there is none: one refusal should not hide what follows."""
    try:
        return work()
    except (Refused, OSError, ArithmeticError, AssertionError, KeyError) as error:
        return f"{type(error).__name__}: {error}"


def device(gpu, save, context):
    """Versions, paths, what the driver says of multiprocessors, and what memory calls cost."""
    version, name = c.c_int(), c.create_string_buffer(100)
    gpu.cuDriverGetVersion(c.byref(version))
    gpu.cuDeviceGetName(name, 100, gpu.device)
    attributes = {"multiprocessors": 16, "clock_khz": 13, "memory_clock_khz": 36, "bus_bits": 37,
                  "l2_bytes": 38, "copy_engines": 40, "shared_per_block": 97}
    ladder = Ladder(gpu)
    result = {
        "name": name.value.decode(), "driver": version.value, "libcuda": gpu.path,
        "nvrtc": context["nvrtc"], "free_bytes": gpu.free(),
        **{key: gpu.attribute(index) for key, index in attributes.items()},
        "resource": {"count": ladder.all.count, "least": ladder.all.least,
                     "alignment": ladder.all.alignment, "groups": ladder.count,
                     "group_sizes": [g.count for g in ladder.groups[:ladder.count]],
                     "remainder": ladder.remainder}}
    save("device", result)
    asked = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.mem,power.limit,"
             "pcie.link.gen.current,pcie.link.width.current", "--format=csv,noheader"]
    result["smi"] = attempt(lambda: subprocess.run(asked, capture_output=True, text=True).stdout)
    result["memory_calls_us"] = attempt(lambda: memory_calls(gpu))
    result["virtual_memory"] = attempt(lambda: virtual_memory(gpu))
    save("device", result)
    result["cudnn"] = attempt(lambda: (lambda it: [it.version, it.path])(CuDNN()))
    save("device", result)


def memory_calls(gpu):
    """Medians, in microseconds, of what a server must not do while it serves."""
    result = {}
    for mib in (2, 137):
        pairs = []
        for _ in range(9):
            took, address = spent(lambda: gpu.allocate(mib * MIB))
            pairs.append((took, spent(lambda: gpu.release(address))[0]))
        result[f"alloc_{mib}_mib"] = statistics.median(p[0] for p in pairs)
        result[f"free_{mib}_mib"] = statistics.median(p[1] for p in pairs)
    result["pin_256_mib"], address = spent(lambda: gpu.pinned(256 * MIB))
    result["unpin_256_mib"] = spent(lambda: gpu.cuMemFreeHost(address))[0]
    return result


def virtual_memory(gpu):
    """Granularity, and what mapping one page of it costs (median microseconds of 64)."""
    properties = (number * 8)(1, 0, 1, gpu.device)   # pinned, no handle type, on the device
    access, granularity = (number * 3)(1, gpu.device, 3), size()
    result = {}
    for key, option in (("minimum", 0), ("recommended", 1)):
        gpu.cuMemGetAllocationGranularity(c.byref(granularity), properties, option)
        result[key] = granularity.value
    page, address, times = granularity.value, word64(), {}
    gpu.cuMemAddressReserve(c.byref(address), 64 * page, 0, 0, 0)
    for i in range(64):
        handle, at = word64(), address.value + i * page
        steps = {
            "create": lambda: gpu.cuMemCreate(c.byref(handle), page, properties, 0),
            "map": lambda: gpu.cuMemMap(at, page, 0, handle, 0),
            "access": lambda: gpu.cuMemSetAccess(at, page, access, 1),
            "unmap": lambda: gpu.cuMemUnmap(at, page),
            "release": lambda: gpu.cuMemRelease(handle)}
        for key, step in steps.items():
            times.setdefault(key, []).append(spent(step)[0])
    gpu.cuMemAddressFree(address, 64 * page)
    return result | {f"{key}_us": round(statistics.median(t), 1) for key, t in times.items()}


def census(gpu, stream, seen, work=None):
    """The multiprocessors that run blocks of the stream."""
    gpu.clear(seen, 1024, stream)
    ask = work or gpu.launch("census", 132 * 16, 64, word64(seen), word64(20000))
    ask(stream)
    return {i for i, count in enumerate(gpu.read(seen, c.c_uint, 256, stream)) if count}


def partitions(gpu, save, context):
    """31 green contexts of one split: what they cost and where they run."""
    ladder, seen, rows = Ladder(gpu), gpu.allocate(1024), []
    plain = gpu.stream()
    result = {"contexts": rows, "primary": len(census(gpu, plain, seen))}
    wanted = [("first", k) for k in range(1, ladder.count)]
    wanted += [("rest", k) for k in range(1, ladder.count)] + [("whole", 0)]
    sets = {}
    for kind, k in wanted:
        before = gpu.free()
        took, made = spent(lambda: getattr(ladder, kind)(*([k] if k else [])))
        memory = before - gpu.free()
        ids = census(gpu, made.stream, seen)
        sets[kind, k] = ids
        rows.append({"kind": kind, "groups": k, "said": made.multiprocessors, "ran_on": len(ids),
                     "create_us": round(made.seconds * 1e6), "with_stream_us": round(took),
                     "bytes": memory})
        save("partitions", result)
    pairs = [(sets["first", k], sets["rest", k]) for k in range(1, ladder.count)]
    result["disjoint"] = all(not a & b for a, b in pairs)
    result["complete"] = all(len(a | b) == ladder.all.count for a, b in pairs)
    chain = [sets["first", k] for k in range(1, ladder.count)]
    result["nested"] = all(a < b for a, b in zip(chain, chain[1:]))
    result["first_group"] = sorted(chain[0])
    result["last"] = sorted(sets["rest", ladder.count - 1])
    save("partitions", result)
    result["overlap"] = attempt(lambda: overlap(gpu, ladder))
    result["hop_us"] = attempt(lambda: hop(gpu, ladder))
    result["launch"] = attempt(lambda: launch_costs(gpu, ladder, context))
    save("partitions", result)
    fresh = Ladder(gpu).first(3)
    result["destroy_us"] = attempt(lambda: round(spent(fresh.close)[0]))
    save("partitions", result)


def overlap(gpu, ladder):
    """Kernels of disjoint partitions, 300 us each: how much of the time they ran together."""
    results = {}
    for k in (1, 4, 8, 12):
        streams, buffers = [ladder.first(k).stream, ladder.rest(k).stream], []
        for stream in streams:
            buffers.append(gpu.allocate(16))
            gpu.cuMemsetD8Async(buffers[-1], 0xff, 8, stream)
            gpu.cuMemsetD8Async(buffers[-1] + 8, 0, 8, stream)
            gpu.cuStreamSynchronize(stream)
        for stream, buffer in zip(streams, buffers):
            gpu.launch("span", 32, 32, word64(buffer), word64(300000))(stream)
        spans = [gpu.read(b, word64, 2, s) for b, s in zip(buffers, streams)]
        together = min(s[1] for s in spans) - max(s[0] for s in spans)
        results[k] = round(together / 300000, 3)
    return results


def hop(gpu, ladder):
    """Microseconds from one partition's stream to the other's and on, by events; and within one."""
    a, b = ladder.first(8).stream, ladder.rest(8).stream
    empty, there, back = gpu.launch("nothing", 1, 32), gpu.event(False), gpu.event(False)

    def there_and_back(stream):
        for _ in range(20):
            empty(stream)
            gpu.cuEventRecord(there, stream)
            gpu.cuStreamWaitEvent(b, there, 0)
            empty(b)
            gpu.cuEventRecord(back, b)
            gpu.cuStreamWaitEvent(stream, back, 0)

    def within(stream):
        for _ in range(40):
            empty(stream)
    graph = Graph(gpu, a, there_and_back)
    return {"across": gpu.median(a, there_and_back) / 40, "within": gpu.median(a, within) / 40,
            "across_in_graph": gpu.median(a, graph) / 40,
            "within_in_graph": gpu.median(a, Graph(gpu, a, within)) / 40}


def launch_costs(gpu, ladder, context):
    """Host microseconds of a launch, and from an idle stream until the host knows it is done."""
    host = c.CDLL(context["host"])
    host.launchLoop.restype = c.c_double
    call = c.cast(gpu.library.cuLaunchKernel, pointer)
    results = {}
    for key, stream in (("green", ladder.first(8).stream), ("primary", gpu.stream())):
        empty, kernel = gpu.launch("nothing", 1, 32), gpu.kernel("nothing")
        loops = []
        for _ in range(9):
            loops.append(host.launchLoop(call, kernel, stream, 200) / 200 * 1e6)
            gpu.cuStreamSynchronize(stream)
        trips = [spent(lambda: (empty(stream), gpu.cuStreamSynchronize(stream)))[0]
                 for _ in range(50)]
        results[key] = {"host_us": statistics.median(loops),
                        "round_trip_us": statistics.median(trips)}
    return results


def layer_named(network, title):
    return next(l for l in networks.NETWORKS[network] if l.title() == title)


CASES = [(layer_named("resnet50", "3x3 14² 256→256"), 64),
         (layer_named("vgg19", "3x3 56² 256→256"), 16)]


def cudnn(gpu, save, context):
    """cuDNN in green contexts: is the stream taken, are bits equal, how does time scale."""
    library, ladder, rows = CuDNN(), Ladder(gpu), []
    result = {"rows": rows, "path": library.path, "version": library.version}
    primary = library.handle()
    text = library.device_json(primary)
    with open(context["device_json"], "w") as file:
        file.write(text)
    result["device_json"] = "written"
    save("cudnn", result)
    result["primary_handle_takes_green_stream"] = attempt(
        lambda: library.call("cudnnSetStream", primary, ladder.first(4).stream) or True)
    green = PerPartition(gpu, library).handle(ladder.first(4))
    result["green_handle_says"] = json.loads(library.device_json(green))["multiProcessorCount"]
    bench = Bench(gpu, ladder.whole().stream)
    result["plans"] = plan_kinds(gpu, library, ladder, bench, text, primary)
    save("cudnn", result)
    device = library.device(text)
    for layer, batch in CASES:
        count = prepared(bench, layer, batch)
        choice, bits = bench.tune(layer, batch, ladder.whole())[0][1], {}
        for partition in context["partitions"](ladder):
            row = {"layer": layer.title(), "batch": batch, "sm": partition.multiprocessors}
            rows.append(row)
            case = Case(layer, batch, count, choice, device, bits)
            row["refused"] = attempt(
                lambda: in_partition(gpu, library, bench, partition, case, row))
            save("cudnn", result)


@dataclass
class Case:
    layer: object
    batch: int
    count: int
    choice: tuple
    device: object
    bits: dict


def prepared(bench, layer, batch):
    bench.prepare(layer)
    count = bench.poison(layer, batch)
    bench.gpu.cuStreamSynchronize(bench.stream)
    return count


def digest(gpu, address, count, stream):
    return hashlib.sha1(gpu.bytes(address, count, stream)).hexdigest()[:12]


def in_partition(gpu, library, bench, partition, case, row):
    gpu.cuCtxSetCurrent(partition.context)
    shape, layer, stream = networks.shape(case.layer, case.batch), case.layer, partition.stream
    try:
        before = gpu.free()
        row["handle_us"], handle = spent(lambda: library.handle(stream))
        row["handle_bytes"] = before - gpu.free()
        works = {"own": bench.own(layer, case.batch, case.choice)}
        for kind, where in (("cudnn", {"handle": handle}), ("deviceless", {"device": case.device})):
            plan = library.plan(shape, layer, **where)
            pack = packed(plan, layer, bench.at, bench.scratch)
            works[kind] = lambda s, plan=plan, pack=pack: plan.run(handle, pack)
        for kind, work in works.items():
            row[kind + "_us"] = time_repeated(gpu, stream, work)
            found = digest(gpu, bench.at.y, min(case.count * 2, 1 << 20), stream)
            row[kind + "_equal"] = case.bits.setdefault(kind, found) == found
        library.call("cudnnDestroy", handle)
    finally:
        gpu.cuCtxSetCurrent(gpu.primary)


def plan_kinds(gpu, library, ladder, bench, text, primary):
    """Which plans run with which handle, how fast, and with how many blocks."""
    rows, handles = [], PerPartition(gpu, library)
    places = {"primary": Primary(gpu), "whole": ladder.whole(), "64": ladder.first(8),
              "16": ladder.first(2)}
    for layer, batch in CASES:
        shape = networks.shape(layer, batch)
        prepared(bench, layer, batch)
        for place, partition in places.items():
            handle = handles.handle(partition)
            for made, where in (("by this handle", {"handle": handle}),
                                ("by the primary handle", {"handle": primary}),
                                ("deviceless", {"device": library.device(text)})):
                row = {"layer": layer.title(), "place": place, "made": made}
                rows.append(row)
                row["refused"] = attempt(lambda: run_plan(
                    gpu, library, bench, partition, handle, (layer, shape, where), row))
    return rows


def run_plan(gpu, library, bench, partition, handle, case, row):
    layer, shape, where = case
    gpu.cuCtxSetCurrent(partition.context)
    try:
        row["plan_us"], plan = spent(lambda: library.plan(shape, layer, **where))
        row["engine"], row["workspace"] = plan.engine()[0], plan.workspace
        pack, stream = packed(plan, layer, bench.at, bench.scratch), partition.stream
        row["first_us"], _ = spent(
            lambda: (plan.run(handle, pack), gpu.cuStreamSynchronize(stream)))
        row["us"] = time_repeated(gpu, stream, lambda s: plan.run(handle, pack))
        row["grids"] = Graph(gpu, stream, lambda s: plan.run(handle, pack)).kernels()
    finally:
        gpu.cuCtxSetCurrent(gpu.primary)


def graphs(gpu, save, context):
    """Graphs captured on a green stream: do they stay in its partition wherever replayed?"""
    ladder, seen, result = Ladder(gpu), gpu.allocate(1024), {}
    home, away, plain = ladder.first(4), ladder.rest(4), gpu.stream()
    ask = gpu.launch("census", 132 * 16, 64, word64(seen), word64(20000))
    expected = census(gpu, home.stream, seen)
    graph = Graph(gpu, home.stream, ask)
    replays = {"home": home.stream, "other partition": away.stream, "primary": plain}
    for key, stream in replays.items():
        ids = census(gpu, stream, seen, graph)
        result[f"captured green, replayed {key}"] = {"sm": len(ids), "in_home": ids <= expected}
    save("graphs", result)
    elsewhere = Graph(gpu, plain, ask)
    ids = census(gpu, home.stream, seen, elsewhere)
    result["captured primary, replayed green"] = {"sm": len(ids), "in_home": ids <= expected}
    save("graphs", result)
    layer, batch = CASES[0]
    bench = Bench(gpu, home.stream, 64)
    count = prepared(bench, layer, batch)
    choice = bench.tune(layer, batch, home)[0][1]
    work = bench.own(layer, batch, choice)
    result["own"] = attempt(lambda: by_graph(gpu, home, work))
    result["own_error"] = attempt(lambda: bench.error(layer, batch, count))
    save("graphs", result)
    library = CuDNN()
    handle = PerPartition(gpu, library).handle(home)
    plan = library.plan(networks.shape(layer, batch), layer, handle=handle)
    pack = packed(plan, layer, bench.at, bench.scratch)
    bench.poison(layer, batch)
    gpu.cuCtxSetCurrent(home.context)
    plan.run(handle, pack)
    result["cudnn"] = attempt(lambda: by_graph(gpu, home, lambda s: plan.run(handle, pack)))
    result["cudnn_error"] = attempt(lambda: bench.error(layer, batch, count))
    save("graphs", result)


def by_graph(gpu, home, work):
    took, graph = spent(lambda: Graph(gpu, home.stream, lambda s: [work(s) for _ in range(50)]))
    direct = gpu.median(home.stream, lambda s: [work(s) for _ in range(50)]) / 50
    kernels = graph.kernels()
    return {"capture_us": took, "kernels": len(kernels), "grid": kernels[0], "direct_us": direct,
            "replay_us": gpu.median(home.stream, graph) / 50}
