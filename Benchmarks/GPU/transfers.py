"""Copies between host and device by size, alone and while kernels compute; memory by share."""

import ctypes as c
import statistics
import time

from driver import Graph, Ladder, number, size, word64
from stack import Stack

SIZES = [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20]
LARGEST = SIZES[-1]


class Copies:
    def __init__(self, gpu):
        self.gpu, self.stream = gpu, gpu.stream()
        self.host, self.device = gpu.pinned(LARGEST), gpu.allocate(LARGEST)
        c.memset(self.host, 0x5a, LARGEST)

    def one(self, direction, bytes, stream, at=0):
        if direction == "h2d":
            self.gpu.cuMemcpyHtoDAsync_v2(self.device + at, self.host + at, bytes, stream)
        else:
            self.gpu.cuMemcpyDtoHAsync_v2(self.host + at, self.device + at, bytes, stream)

    def many(self, direction, bytes):
        """Work that copies at least 64 MiB, in pieces."""
        count = max(1, min(64, (64 << 20) // bytes))

        def work(stream):
            for i in range(count):
                self.one(direction, bytes, stream, i * bytes % LARGEST)
        return work, count * bytes

    def alone(self, direction, bytes):
        """The host's microseconds for one copy from an idle stream until it is known to be done."""
        trips = []
        for _ in range(15):
            began = time.perf_counter()
            self.one(direction, bytes, self.stream)
            self.gpu.cuStreamSynchronize(self.stream)
            trips.append((time.perf_counter() - began) * 1e6)
        return statistics.median(trips)


def transfers(gpu, save, context):
    rows, result = [], {}
    result["rows"] = rows
    copies, whole = Copies(gpu), Ladder(gpu).whole()
    stack = Stack(gpu, whole.stream, "vgg19", 16)
    busy = Graph(gpu, whole.stream, stack.own(16, lambda layer, batch: (0, 1)))
    alone = gpu.median(whole.stream, busy, 9)
    result["busy_alone_us"] = alone
    for direction in ("h2d", "d2h"):
        for bytes in SIZES:
            work, total = copies.many(direction, bytes)
            graph = Graph(gpu, copies.stream, work)
            idle = gpu.median(copies.stream, graph)
            row = {"direction": direction, "bytes": bytes, "gb_per_s": total / idle / 1e3,
                   "one_us": copies.alone(direction, bytes)}
            rows.append(row)
            replays = int(7 * idle * 1.5 / alone) + 2
            for _ in range(replays):
                busy(whole.stream)
            row["busy_gb_per_s"] = total / gpu.median(copies.stream, graph) / 1e3
            row["was_busy"] = gpu.library.cuStreamQuery(whole.stream) == 600   # not ready
            gpu.cuStreamSynchronize(whole.stream)
            save("transfers", result)
    result["busy_while_copying_us"] = slowed(gpu, copies, whole, busy, alone)
    save("transfers", result)
    result["both_directions_gb_per_s"] = both(gpu, copies)
    result["pageable_gb_per_s"] = pageable(gpu, copies)
    save("transfers", result)
    result["memory_by_share"] = memory_by_share(gpu)
    result["device_copy_gb_per_s"] = device_copy(gpu, copies.stream)
    save("transfers", result)


def slowed(gpu, copies, whole, busy, alone):
    """Microseconds of the computation while copies of 16 MiB go on, one direction at a time."""
    results = {}
    for direction in ("h2d", "d2h"):
        work, total = copies.many(direction, 16 << 20)
        for _ in range(int(11 * alone / (total / 50e3)) + 3):
            work(copies.stream)
        results[direction] = gpu.median(whole.stream, busy, 9)
        results[direction + "_was_copying"] = gpu.library.cuStreamQuery(copies.stream) == 600
        gpu.cuStreamSynchronize(copies.stream)
    return results


def both(gpu, copies):
    """GB/s of each direction while the other goes on."""
    other, results = gpu.stream(), {}
    host, device = gpu.pinned(64 << 20), gpu.allocate(64 << 20)
    for _ in range(40):
        gpu.cuMemcpyDtoHAsync_v2(host, device, 64 << 20, other)
    work, total = copies.many("h2d", 16 << 20)
    results["h2d"] = total / gpu.median(copies.stream, work, 9) / 1e3
    results["was_both"] = gpu.library.cuStreamQuery(other) == 600
    gpu.cuStreamSynchronize(other)
    for _ in range(40):
        gpu.cuMemcpyHtoDAsync_v2(device, host, 64 << 20, other)
    work, total = copies.many("d2h", 16 << 20)
    results["d2h"] = total / gpu.median(copies.stream, work, 9) / 1e3
    gpu.cuStreamSynchronize(other)
    return results


def pageable(gpu, copies):
    """GB/s to the device from memory that is not pinned, by the host's clock."""
    memory = c.create_string_buffer(b"\x5a" * (64 << 20), 64 << 20)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        gpu.cuMemcpyHtoDAsync_v2(copies.device, memory, 64 << 20, copies.stream)
        gpu.cuStreamSynchronize(copies.stream)
        times.append(time.perf_counter() - began)
    return (64 << 20) / statistics.median(times) / 1e9


def memory_by_share(gpu):
    """GB/s that a partition reads from device memory, and from the cache (24 MiB over and over)."""
    ladder, sink, rows = Ladder(gpu), gpu.allocate(16), []
    data = gpu.allocate(1 << 30)
    gpu.fill(data, 1 << 29, 1, 1, ladder.whole().stream)
    gpu.cuStreamSynchronize(ladder.whole().stream)
    for share in (8, 16, 24, 32, 48, 64, 80, 96, 112, 132):
        partition = ladder.share(share)
        row = {"sm": partition.multiprocessors}
        for key, bytes, rounds in (("memory", 1 << 30, 1), ("cache", 24 << 20, 40)):
            grid = partition.multiprocessors * 8
            round = bytes // (grid * 256 * 64) * (grid * 256 * 64)   # what the loop reaches
            read = gpu.launch("readAll", grid, 256, word64(data), size(round // 16), number(rounds),
                              word64(sink))
            row[key + "_gb_per_s"] = round * rounds / gpu.median(partition.stream, read) / 1e3
        rows.append(row)
    return rows


def device_copy(gpu, stream):
    """GB/s, bytes read and bytes written counted."""
    a, b = gpu.allocate(1 << 30), gpu.allocate(1 << 30)
    gpu.fill(a, 1 << 29, 1, 1, stream)
    copied = gpu.median(stream, lambda s: gpu.cuMemcpyDtoDAsync_v2(b, a, 1 << 30, s))
    return 2 * (1 << 30) / copied / 1e3
