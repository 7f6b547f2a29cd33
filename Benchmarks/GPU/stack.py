"""Layers with memory behind them: the own kernel, cuDNN's plans, and whole networks."""

import ctypes as c
import statistics
from dataclasses import dataclass

import driver
import networks
from driver import Graph, number, size, word64

PARTIAL = 256 << 20   # bytes for parts of divided sums


@dataclass(frozen=True)
class Tile:
    m: int
    n: int
    k: int
    warps: int
    stages: int

    @property
    def name(self):
        return f"conv_{self.m}x{self.n}x{self.k}_{self.warps}"

    @property
    def memory(self):
        return max(self.stages * (self.m + self.n) * self.k * 2, self.m * (self.n + 8) * 2)

    def grid(self, shape):
        pixels = shape.batch * shape.outHeight * shape.outWidth
        return -(-pixels // self.m) * -(-shape.filters // self.n)

    def steps(self, shape):
        return -(-shape.rows * shape.columns * shape.channels // self.k)


TILES = [Tile(128, 128, 32, 8, 4), Tile(128, 128, 32, 4, 4), Tile(256, 128, 32, 8, 4),
         Tile(128, 128, 64, 8, 3), Tile(128, 64, 64, 4, 3), Tile(64, 64, 64, 4, 3),
         Tile(32, 64, 64, 4, 4)]


def candidates(shape, multiprocessors):
    """Sizes and divisions that could be best: no tile mostly empty, no division without need."""
    pixels = shape.batch * shape.outHeight * shape.outWidth
    for i, tile in enumerate(TILES):
        grid = tile.grid(shape)
        if (tile.m > 32 and tile.m >= 2 * pixels) or (tile.n > 64 and tile.n >= 2 * shape.filters):
            continue
        if tile.m <= 64 and grid > 16 * multiprocessors:
            continue
        for splits in (1, 2, 4, 8, 16, 32):
            bytes = grid * splits * tile.m * tile.n * 4
            fits = grid * splits <= 4 * multiprocessors and bytes <= PARTIAL
            if splits == 1 or (fits and tile.steps(shape) >= 2 * splits):
                yield i, splits


class Scratch:
    """What launches of one stream share."""

    def __init__(self, gpu, stream):
        self.partial, self.counters = gpu.allocate(PARTIAL), gpu.allocate(4 << 20)
        self.workspace, self.small = gpu.allocate(64 << 20), gpu.allocate(4096)
        gpu.clear(self.counters, 4 << 20, stream)


class Addresses:
    """Where one layer's tensors are; `half` is the bias in fp16."""

    def __init__(self, x, w, bias, half, residual, y):
        self.x, self.w, self.bias, self.half, self.residual, self.y = x, w, bias, half, residual, y


def own(gpu, scratch, layer, batch, at, choice):
    """A launch of the own kernel; choice is (number of the tile, parts of the sum)."""
    tile, splits = TILES[choice[0]], choice[1]
    shape = networks.shape(layer, batch)
    operands = driver.Operands(
        at.x, at.w, at.bias, at.residual if layer.residual else 0, at.y + 2 * layer.offset,
        scratch.partial, scratch.counters, layer.relu)
    return gpu.launch(tile.name, (tile.grid(shape), splits), 32 * tile.warps, shape, operands,
                      memory=tile.memory)


def packed(plan, layer, at, scratch):
    tensors = {1: at.x, 2: at.w, 3: at.half, 5: at.y}
    if layer.residual:
        tensors[4] = at.residual
    if plan.workspace > 64 << 20:
        raise driver.Refused("plan wants a larger workspace", plan.workspace)
    return plan.bind(tensors, scratch.workspace)


def time_repeated(gpu, stream, work, budget=1500, repeats=3, first=None):
    """Microseconds of `work` as one of several in a graph, so that launches cost little."""
    first = first or gpu.times(stream, work, 1)[0]
    inside = max(1, min(20, int(budget / max(first, 1) / repeats)))
    graph = Graph(gpu, stream, lambda s: [work(s) for _ in range(inside)])
    try:
        return gpu.median(stream, graph, repeats) / inside
    finally:
        graph.close()


class Bench:
    """One layer at a time, with random operands of its shape."""

    def __init__(self, gpu, stream, batch=64):
        self.gpu, self.stream, self.scratch = gpu, stream, Scratch(gpu, stream)
        layers = [l for each in networks.NETWORKS.values() for l in each]
        most = networks.activations(layers, batch) * 2
        weights = max(l.weights for l in layers) * 2
        self.at = Addresses(gpu.allocate(most), gpu.allocate(weights), gpu.allocate(32768),
                            gpu.allocate(16384), gpu.allocate(most), gpu.allocate(most))
        gpu.fill(self.at.x, most // 2, 1, 1, stream)
        gpu.fill(self.at.residual, most // 2, 1, 2, stream)
        self.seed = 3

    def release(self):
        """Gives the tensors back; the scratch stays."""
        for address in vars(self.at).values():
            self.gpu.release(address)

    def prepare(self, layer):
        self.seed += 2
        spread = (6 / (layer.kernel ** 2 * layer.channels)) ** 0.5
        self.gpu.fill(self.at.w, layer.weights, spread, self.seed, self.stream)
        fill_bias(self.gpu, self.at, layer.filters, self.seed + 1, self.stream)

    def own(self, layer, batch, choice):
        return own(self.gpu, self.scratch, layer, batch, self.at, choice)

    def tune(self, layer, batch, partition):
        """[(microseconds, choice)] of the three best candidates, best first."""
        results, least = [], float("inf")
        shape, stream = networks.shape(layer, batch), partition.stream
        for choice in candidates(shape, partition.multiprocessors):
            work = self.own(layer, batch, choice)
            first = self.gpu.times(stream, work, 1)[0]
            least = min(least, first)
            if first < 100 or first < 1.4 * least:
                results.append((time_repeated(self.gpu, stream, work, 300, 2, first), choice))
        results.sort()
        best = []
        for _, choice in results[:3]:
            best.append((time_repeated(self.gpu, stream, self.own(layer, batch, choice)), choice))
        return sorted(best)

    def poison(self, layer, batch):
        count = batch * layer.out ** 2 * layer.filters * 2
        self.gpu.clear(self.at.y, count, self.stream, 0xff)
        return count // 2

    def error(self, layer, batch, count, samples=4096):
        """Relative error of sampled outputs against sums in double; unwritten outputs raise."""
        gpu, stream, small = self.gpu, self.stream, self.scratch.small
        gpu.clear(small, 64, stream)
        gpu.launch("countNaN", 1056, 256, word64(self.at.y), size(count), word64(small))(stream)
        shape = networks.shape(layer, batch)
        operands = driver.Operands(self.at.x, self.at.w, self.at.bias,
                                   self.at.residual if layer.residual else 0, self.at.y, 0, 0,
                                   layer.relu)
        gpu.launch("compare", samples // 64, 64, shape, operands, number(samples),
                   number(self.seed), word64(small + 16), word64(0))(stream)
        missing = gpu.read(small, c.c_uint, 1, stream)[0]
        if missing:
            raise AssertionError(f"{missing} of {count} outputs are not numbers: {layer.title()}")
        difference, whole = gpu.read(small + 16, c.c_double, 2, stream)
        return (difference / whole) ** 0.5


def fill_bias(gpu, at, filters, seed, stream):
    gpu.launch("fillBias", -(-filters // 256), 256, word64(at.bias), word64(at.half),
               number(filters), number(seed))(stream)


class Stack:
    """A network with weights and activations of its own; largest batch given."""

    def __init__(self, gpu, stream, name, batch):
        self.gpu, self.name, self.layers = gpu, name, networks.NETWORKS[name]
        self.scratch = Scratch(gpu, stream)
        most = networks.activations(self.layers, batch) * 2
        count = 1 + max(max(l.source, l.target, l.added) for l in self.layers)
        self.buffers = [gpu.allocate(most) for _ in range(count)]
        for i, buffer in enumerate(self.buffers):
            gpu.fill(buffer, most // 2, 1, i, stream)
        self.weights = gpu.allocate(sum(l.weights for l in self.layers) * 2)
        biases = gpu.allocate(len(self.layers) * 3 * 16384)
        self.addresses, w = [], self.weights
        for i, layer in enumerate(self.layers):
            bias = biases + i * 3 * 16384
            at = Addresses(self.buffers[layer.source], w, bias, bias + 32768,
                           self.buffers[layer.added], self.buffers[layer.target])
            spread = (6 / (layer.kernel ** 2 * layer.channels)) ** 0.5
            gpu.fill(w, layer.weights, spread * (0.3 if layer.residual else 1), 100 + i, stream)
            fill_bias(gpu, at, layer.filters, 200 + i, stream)
            self.addresses.append(at)
            w += layer.weights * 2
        gpu.cuStreamSynchronize(stream)

    def own(self, batch, choose):
        """Launches in order; choose(layer, batch) says which kernel."""
        works = [own(self.gpu, self.scratch, layer, batch, at, choose(layer, batch))
                 for layer, at in zip(self.layers, self.addresses)]
        return lambda stream: [work(stream) for work in works]

    def cudnn(self, library, handle, plans):
        """Executions in order; plans[i] is of layer i."""
        packs = [(plan, packed(plan, layer, at, self.scratch))
                 for plan, layer, at in zip(plans, self.layers, self.addresses)]
        return lambda stream: [plan.run(handle, pack) for plan, pack in packs]


def timed_graph(gpu, stream, work, enough=30000):
    """(median us, spread) of replays of `work` as a graph."""
    work(stream)   # what is loaded at first use must not be loaded while capturing
    gpu.cuStreamSynchronize(stream)
    graph = Graph(gpu, stream, work)
    try:
        first = gpu.times(stream, graph, 1)[0]
        times = gpu.times(stream, graph, max(3, min(9, int(enough / first))), 0)
        return statistics.median(times), max(times) / min(times) - 1
    finally:
        graph.close()


class PerPartition:
    """cuDNN with one handle for each partition, made while its context is current."""

    def __init__(self, gpu, cudnn):
        self.gpu, self.cudnn, self.handles = gpu, cudnn, {}

    def handle(self, partition):
        key = partition.stream.value
        if key not in self.handles:
            self.gpu.cuCtxSetCurrent(partition.context)
            try:
                self.handles[key] = self.cudnn.handle(partition.stream)
            finally:
                self.gpu.cuCtxSetCurrent(self.gpu.primary)
        return self.handles[key]
