"""VGG-19 with device memory for half of its weights: five ways to get the rest where it is needed.

demand     a part is copied when its layer begins, nothing overlaps; the oldest part goes (LRU,
           which in a cycle evicts each part before it comes again)
faults     the same, but pages are asked for by the device while it waits (`touch`, probes.cuh)
zero-copy  kernels read the weights in host memory
kept       what fits stays for good, the rest is copied on demand
planned    what fits beside a ring stays for good, the rest is copied ahead on a stream of its own

Weights are copied in parts: a convolution's are one part, the products' are cut by their filters.
"""

import ctypes as c
import statistics
import threading

import driver
import networks
from driver import Ladder, Refused, number, pointer, word64
from stack import Addresses, Bench, Scratch, fill_bias, own

ALIGN = 512
SERVED = 128      # bytes between the words of two blocks


def parts_of(layer):
    return networks.split(layer, {(25088, 4096): 32, (4096, 4096): 8, (4096, 1000): 5}.get(
        (layer.channels, layer.filters), 1))


class Part:
    def __init__(self, layer, at, bytes, host):
        self.layer, self.at, self.bytes, self.host = layer, at, bytes, host
        self.place = self.launch = None


class Model:
    """VGG-19 in parts: weights pinned on the host, activations on the device."""

    def __init__(self, gpu, partition, batch, choices):
        self.gpu, self.stream, self.batch, self.choices = gpu, partition.stream, batch, choices
        layers = [part for layer in networks.NETWORKS["vgg19"] for part in parts_of(layer)]
        self.scratch = Scratch(gpu, self.stream)
        most = networks.activations(layers, batch) * 2
        buffers = [gpu.allocate(most) for _ in range(3)]
        gpu.fill(buffers[2], most // 2, 1, 7, self.stream)
        sizes = [-(-l.weights * 2 // ALIGN) * ALIGN for l in layers]
        self.total = sum(sizes)
        host, biases, self.parts = gpu.pinned(self.total), gpu.allocate(len(layers) * 49152), []
        self.everything = gpu.allocate(self.total)
        at = 0
        for i, (layer, bytes) in enumerate(zip(layers, sizes)):
            bias = biases + i * 49152
            where = Addresses(buffers[layer.source], 0, bias, bias + 32768, 0,
                              buffers[layer.target])
            spread = (6 / (layer.kernel ** 2 * layer.channels)) ** 0.5
            gpu.fill(self.everything + at, layer.weights, spread, 300 + i, self.stream)
            fill_bias(gpu, where, layer.filters, 400 + i, self.stream)
            self.parts.append(Part(layer, where, bytes, host + at))
            at += bytes
        gpu.cuMemcpyDtoHAsync_v2(host, self.everything, self.total, self.stream)
        gpu.cuStreamSynchronize(self.stream)
        self.last = (buffers[layers[-1].target], batch * 1000)

    def place(self, addresses):
        """Where each part's weights are when its kernel reads them."""
        for part, address in zip(self.parts, addresses):
            part.place = part.at.w = address
            choice = self.choices[part.layer.key(), self.batch]
            part.launch = own(self.gpu, self.scratch, part.layer, self.batch, part.at, choice)

    def output(self):
        return self.gpu.bytes(self.last[0], self.last[1] * 2, self.stream)


def walk(sizes, room):
    """Places for parts one after another, from the front again where the room ends."""
    places, at = [], 0
    for bytes in sizes:
        at = 0 if at + bytes > room else at
        places.append(at)
        at += bytes
    return places


def overlapping(places, sizes, i, before):
    return [j for j in before
            if places[j] < places[i] + sizes[i] and places[i] < places[j] + sizes[j]]


def measure(gpu, model, one_pass, passes, warm=2, in_graph=False):
    """Median microseconds of a pass, when passes follow each other and alone; the output.

    in_graph: replayed with one call, for passes that depend on no other pass."""
    def work(stream):
        one_pass()
    if in_graph:
        work = driver.Graph(gpu, model.stream, work)
    alone = [gpu.times(model.stream, work, 1, 0)[0] for _ in range(warm + 5)][warm:]
    row = {"alone_us": statistics.median(alone)}
    if passes:
        times = gpu.times(model.stream, work, passes, warm)
        row |= {"us": statistics.median(times), "least": min(times), "most": max(times)}
    return row, model.output()


def resident(gpu, model, budget):
    at, places = model.everything, []
    for part in model.parts:
        places.append(at)
        at += part.bytes
    model.place(places)
    return lambda: [part.launch(model.stream) for part in model.parts], 0


def zero_copy(gpu, model, budget):
    model.place([part.host for part in model.parts])
    return lambda: [part.launch(model.stream) for part in model.parts], 0


def lru(model, slab, budget):
    """Places of all parts, and which ones are gone each time they are needed."""
    sizes = [part.bytes for part in model.parts]
    places = walk(sizes, budget)
    model.place([slab + place for place in places])
    held, misses = set(), []
    for turn in range(3):
        misses = []
        for i in range(len(sizes)):
            if i not in held:
                misses.append(i)
                held -= set(overlapping(places, sizes, i, held))
                held.add(i)
    return places, sizes, misses


def demand(gpu, model, slab, budget):
    _, sizes, misses = lru(model, slab, budget)
    gone = set(misses)

    def one_pass():
        for i, part in enumerate(model.parts):
            if i in gone:
                gpu.cuMemcpyHtoDAsync_v2(part.place, part.host, part.bytes, model.stream)
            part.launch(model.stream)
    return one_pass, sum(sizes[i] for i in misses)


def spread(sizes, room):
    """Parts to keep, at most `room` bytes, the others spread evenly between them."""
    kept, have, seen, total = [], 0, 0, sum(sizes)
    for i, bytes in enumerate(sizes):
        seen += bytes
        if have + bytes <= min(room, room * seen / total + bytes / 2):
            kept.append(i)
            have += bytes
    return kept


def planned(gpu, model, slab, budget, ring, ahead=True):
    """ring: bytes in which the parts that are not kept follow each other."""
    sizes = [part.bytes for part in model.parts]
    kept = spread(sizes, budget - ring)
    streamed = [i for i in range(len(sizes)) if i not in kept]
    places, at = [0] * len(sizes), ring
    for i in kept:
        places[i], at = at, at + sizes[i]
    for i, place in zip(streamed, walk([sizes[i] for i in streamed], ring)):
        places[i] = place
    model.place([slab + place for place in places])
    for i in kept:
        part = model.parts[i]
        gpu.cuMemcpyHtoDAsync_v2(part.place, part.host, part.bytes, model.stream)
    gpu.cuStreamSynchronize(model.stream)
    copies = gpu.stream() if ahead else model.stream
    ready = {i: gpu.event(False) for i in streamed}
    done = {i: gpu.event(False) for i in streamed}
    order = streamed + streamed
    after = {}
    for n, i in enumerate(streamed):
        before = order[n + 1:n + len(streamed)]   # of the round before, oldest first, then of this
        blocking = overlapping(places, sizes, i, before) or [i]
        after[i] = blocking[-1]

    def one_pass():
        for i, part in enumerate(model.parts):
            if i in ready:
                if ahead:
                    gpu.cuStreamWaitEvent(copies, done[after[i]], 0)
                gpu.cuMemcpyHtoDAsync_v2(part.place, part.host, part.bytes, copies)
                if ahead:
                    gpu.cuEventRecord(ready[i], copies)
                    gpu.cuStreamWaitEvent(model.stream, ready[i], 0)
            part.launch(model.stream)
            if i in done and ahead:
                gpu.cuEventRecord(done[i], model.stream)
    return one_pass, sum(sizes[i] for i in streamed)


class Faults(c.Structure):
    _fields_ = [(name, pointer) for name in "copy write setContext context stream mailbox".split()]
    _fields_ += [("served", word64), ("sources", pointer), ("slots", pointer),
                 ("bytes", pointer), ("boxes", number), ("stop", c.c_int),
                 ("count", c.c_longlong), ("failed", c.c_int)]


class Pager:
    """Serves pages of `page` bytes that `blocks` blocks ask for."""

    def __init__(self, gpu, model, slab, budget, page, blocks, host):
        self.gpu, self.model, self.blocks, self.host = gpu, model, blocks, host
        places, sizes, misses = lru(model, slab, budget)
        self.gone, self.firsts, self.counts, self.evicts = set(misses), [], [], []
        sources, slots, lengths = [], [], []
        for i, part in enumerate(model.parts):
            self.firsts.append(len(slots))
            for at in range(0, part.bytes, page):
                sources.append(part.host + at)
                slots.append(part.place + at)
                lengths.append(min(page, part.bytes - at))
            self.counts.append(len(slots) - self.firsts[-1])
            others = [j for j in range(len(sizes)) if j != i]
            self.evicts.append(overlapping(places, sizes, i, others))
        self.tables = ((word64 * len(slots))(*sources), (word64 * len(slots))(*slots),
                       (number * len(slots))(*lengths))
        self.resident, self.served = gpu.allocate(4 * len(slots)), gpu.allocate(blocks * SERVED)
        self.mailbox, self.late = gpu.pinned(blocks * SERVED), gpu.allocate(16)
        c.memset(self.mailbox, 0, blocks * SERVED)
        for address, bytes in ((self.resident, 4 * len(slots)), (self.served, blocks * SERVED),
                               (self.late, 16)):
            gpu.clear(address, bytes, model.stream)
        gpu.cuStreamSynchronize(model.stream)
        self.turn = number(0)
        self.bytes = sum(sizes[i] for i in misses)
        self.pages = sum(self.counts[i] for i in misses)

    def one_pass(self):
        self.turn.value = (self.turn.value + 1) % 4096
        for i, part in enumerate(self.model.parts):
            if i in self.gone:
                for call in self.calls[i]:
                    call(self.model.stream)
            part.launch(self.model.stream)

    def __enter__(self):
        gpu, self.calls = self.gpu, {}
        for i in self.gone:
            self.calls[i] = [gpu.launch("forget", 1, 256, number(self.firsts[j]),
                                        number(self.counts[j]), word64(self.resident))
                             for j in self.evicts[i]]
            self.calls[i].append(gpu.launch(
                "touch", min(self.blocks, self.counts[i]), 1, number(self.firsts[i]),
                number(self.counts[i]), self.turn, word64(self.resident), word64(self.mailbox),
                word64(self.served), word64(self.late), word64(100_000_000)))
        library = gpu.library
        self.state = Faults(
            c.cast(library.cuMemcpyHtoDAsync_v2, pointer),
            c.cast(library.cuStreamWriteValue32_v2, pointer),
            c.cast(library.cuCtxSetCurrent, pointer), gpu.primary, gpu.stream(), self.mailbox,
            self.served, c.addressof(self.tables[0]), c.addressof(self.tables[1]),
            c.addressof(self.tables[2]), self.blocks, 0, 0, 0)
        serve = c.CDLL(self.host).serveFaults
        self.thread = threading.Thread(target=serve, args=(c.byref(self.state),), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.state.stop = 1
        self.thread.join()


def faults(gpu, model, slab, budget, host, expected, batch, put):
    """Sizes of pages and numbers of faults at once; a time-out ends it, and says so."""
    sweep = [(64 << 10, 1), (64 << 10, 32), (256 << 10, 1), (256 << 10, 32), (2 << 20, 1),
             (2 << 20, 8)]
    for page, blocks in sweep if batch == 1 else sweep[1::2]:
        with Pager(gpu, model, slab, budget, page, blocks, host) as pager:
            # Passes do not follow each other: a full queue of launches would block the calls that
            # serve the faults.
            row, output = measure(gpu, model, pager.one_pass, 0, 1)
            late = gpu.read(pager.late, c.c_uint, 1, model.stream)[0]
            passes = 6
            row |= {"faults": pager.state.count / passes, "late": bool(late),
                    "failed": pager.state.failed, "page": page, "at_once": blocks}
        put(f"faults {page >> 10} KiB, {blocks} at once", pager.bytes, row, output == expected)
        if late or pager.state.failed:
            raise Refused("a fault was not served in time", pager.state.failed)


def paging(gpu, save, context):
    whole = Ladder(gpu).whole()
    bench, choices, result = Bench(gpu, whole.stream, 64), {}, {"rows": []}
    for layer in {part.key() for l in networks.NETWORKS["vgg19"] for part in parts_of(l)}:
        bench.prepare(layer)
        for batch in (1, 8, 64):
            choices[layer, batch] = bench.tune(layer, batch, whole)[0][1]
    bench.release()
    for batch in (1, 8, 64):
        model = Model(gpu, whole, batch, choices)
        budget = int(model.total * context["budget"]) // ALIGN * ALIGN
        slab = gpu.allocate(budget)
        result |= {"total": model.total, "budget": budget}
        expected = [None]

        def put(mode, bytes, row, equal):
            result["rows"].append({"mode": mode, "batch": batch, "copied_mb": bytes / 1e6,
                                   "equal": equal, **row})
            save("paging", result)
        ways = {"resident": lambda: resident(gpu, model, budget),
                "demand": lambda: demand(gpu, model, slab, budget),
                "kept": lambda: planned(gpu, model, slab, budget, 7 << 20, False)}
        for mib in (8, 14, 20, 27, 40, 60):
            ways[f"planned, ring of {mib} MiB"] = (
                lambda mib=mib: planned(gpu, model, slab, budget, mib << 20))
        ways["all copied ahead, nothing kept"] = lambda: planned(gpu, model, slab, budget, budget)
        for mode, make in ways.items():
            one_pass, bytes = make()
            row, output = measure(gpu, model, one_pass, 15, in_graph=mode in (
                "resident", "demand", "kept"))
            expected[0] = expected[0] or output
            put(mode, bytes, row, output == expected[0])
        faults(gpu, model, slab, budget, context["host"], expected[0], batch, put)
        one_pass, bytes = zero_copy(gpu, model, budget)
        row, output = measure(gpu, model, one_pass, 0, 1, True)
        put("zero-copy", bytes, row, output == expected[0])
        for address in list(gpu.allocations):
            if address not in vars(bench.scratch).values():
                gpu.release(address)
