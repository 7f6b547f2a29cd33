"""The CUDA driver and its compiler through ctypes: no headers, no toolkit, as the server will do.

Names are the suffixed ones of cuda.h's #defines: a bare cuMemAlloc is an older function.
"""

import ctypes as c
import glob
import os
import statistics
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = ("primitives.cuh", "convolution.cuh", "probes.cuh")
pointer, number, size, word64 = c.c_void_p, c.c_uint, c.c_size_t, c.c_ulonglong

# Argument types, for the functions where Python's own guess (int) would cut a 64-bit value.
FUNCTIONS = {
    "cuInit": [number], "cuDriverGetVersion": [pointer], "cuDeviceGet": [pointer, c.c_int],
    "cuDeviceGetName": [pointer, c.c_int, c.c_int],
    "cuDeviceGetAttribute": [pointer, c.c_int, c.c_int],
    "cuDevicePrimaryCtxRetain": [pointer, c.c_int], "cuCtxSetCurrent": [pointer],
    "cuMemGetInfo_v2": [pointer, pointer],
    "cuMemAlloc_v2": [pointer, size], "cuMemFree_v2": [word64],
    "cuMemHostAlloc": [pointer, size, number], "cuMemFreeHost": [pointer],
    "cuMemcpyHtoDAsync_v2": [word64, pointer, size, pointer],
    "cuMemcpyDtoHAsync_v2": [pointer, word64, size, pointer],
    "cuMemcpyDtoDAsync_v2": [word64, word64, size, pointer],
    "cuMemsetD8Async": [word64, c.c_ubyte, size, pointer],
    "cuStreamCreate": [pointer, number], "cuStreamDestroy_v2": [pointer],
    "cuStreamSynchronize": [pointer], "cuStreamWaitEvent": [pointer, pointer, number],
    "cuStreamQuery": [pointer], "cuStreamGetCtx": [pointer, pointer],
    "cuCtxGetCurrent": [pointer], "cuGraphKernelNodeGetParams_v2": [pointer, pointer],
    "cuStreamBeginCapture_v2": [pointer, c.c_int], "cuStreamEndCapture": [pointer, pointer],
    "cuGraphInstantiateWithFlags": [pointer, pointer, word64],
    "cuGraphLaunch": [pointer, pointer], "cuGraphDestroy": [pointer],
    "cuGraphExecDestroy": [pointer], "cuGraphGetNodes": [pointer, pointer, pointer],
    "cuEventCreate": [pointer, number], "cuEventRecord": [pointer, pointer],
    "cuEventSynchronize": [pointer], "cuEventElapsedTime_v2": [pointer, pointer, pointer],
    "cuLibraryLoadData": [pointer, pointer, pointer, pointer, number, pointer, pointer, number],
    "cuLibraryGetKernel": [pointer, pointer, c.c_char_p],
    "cuKernelSetAttribute": [c.c_int, c.c_int, pointer, c.c_int],
    "cuLaunchKernel": [pointer] + [number] * 7 + [pointer] * 3,
    "cuDeviceGetDevResource": [c.c_int, pointer, c.c_int],
    "cuDevSmResourceSplitByCount": [pointer, pointer, pointer, pointer, number, number],
    "cuDevResourceGenerateDesc": [pointer, pointer, number],
    "cuGreenCtxCreate": [pointer, pointer, c.c_int, number], "cuGreenCtxDestroy": [pointer],
    "cuGreenCtxStreamCreate": [pointer, pointer, number, c.c_int],
    "cuCtxFromGreenCtx": [pointer, pointer],
    "cuMemGetAllocationGranularity": [pointer, pointer, c.c_int],
    "cuMemAddressReserve": [pointer, size, size, word64, word64],
    "cuMemAddressFree": [word64, size],
    "cuMemCreate": [pointer, size, pointer, word64], "cuMemRelease": [word64],
    "cuMemMap": [word64, size, size, word64, word64], "cuMemUnmap": [word64, size],
    "cuMemSetAccess": [word64, size, pointer, size],
}


class Refused(Exception):
    def __init__(self, function, status):
        super().__init__(f"{function} returned {status}")
        self.status = status


def site(*parts):
    """Files of a Python package that carries a library of NVIDIA."""
    import sysconfig
    roots = [sysconfig.get_paths()["purelib"], os.environ.get("GPU_SITE", "/nonexistent")]
    return [f for root in roots for f in sorted(glob.glob(os.path.join(root, *parts)))]


def load(names):
    """The first library of `names` that opens, with the path it came from."""
    reasons = []
    for name in names:
        try:
            library = c.CDLL(name, mode=c.RTLD_GLOBAL)
        except OSError as error:
            reasons.append(str(error))
            continue
        stem = os.path.basename(name).split(".so")[0] + ".so"   # the file may have a longer name
        with open("/proc/self/maps") as maps:
            paths = {line.split()[-1] for line in maps if f"/{stem}" in line}
        return library, sorted(paths)[0] if paths else name
    raise OSError("; ".join(reasons))


class Shape(c.Structure):
    _fields_ = [(name, c.c_int) for name in (
        "batch height width channels filters rows columns stride padding "
        "outHeight outWidth pitch").split()]


class Operands(c.Structure):
    _fields_ = [(name, word64) for name in "x w bias residual y partial counters".split()]
    _fields_ += [("relu", c.c_int)]


class Resource(c.Structure):
    """CUdevResource, of multiprocessors."""
    _fields_ = [("type", number), ("pad", c.c_ubyte * 92), ("count", number), ("least", number),
                ("alignment", number), ("raw", c.c_ubyte * 36)]


def compile_kernels():
    """The kernels as machine code for this compute capability, by NVRTC."""
    for builtins in site("nvidia", "cu13", "lib", "libnvrtc-builtins.so.13*"):
        c.CDLL(builtins, mode=c.RTLD_GLOBAL)
    nvrtc, path = load(site("nvidia", "cu13", "lib", "libnvrtc.so.13")
                       + ["libnvrtc.so.13", "/usr/local/cuda/lib64/libnvrtc.so.13"])
    source = ""
    for name in SOURCES:
        with open(os.path.join(HERE, name)) as file:
            source += f'#line 1 "{name}"\n' + file.read()
    program, length = pointer(), size()
    nvrtc.nvrtcCreateProgram(c.byref(program), source.encode(), b"probe.cu", 0, None, None)
    options = [b"--gpu-architecture=sm_90", b"--std=c++17"]
    status = nvrtc.nvrtcCompileProgram(program, len(options), (c.c_char_p * 2)(*options))
    if status:
        nvrtc.nvrtcGetProgramLogSize(program, c.byref(length))
        log = c.create_string_buffer(length.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        raise Refused("nvrtcCompileProgram: " + log.value.decode(), status)
    nvrtc.nvrtcGetCUBINSize(program, c.byref(length))
    code = c.create_string_buffer(length.value)
    nvrtc.nvrtcGetCUBIN(program, code)
    return code.raw, path


class Launch:
    """One launch of a kernel, its arguments kept; call it with a stream."""

    def __init__(self, gpu, kernel, grid, threads, arguments, memory=0):
        self.arguments = arguments
        self.pointers = (pointer * len(arguments))(*[c.addressof(a) for a in arguments])
        x, y = grid if isinstance(grid, tuple) else (grid, 1)
        self.fixed = (kernel, x, y, 1, threads, 1, 1, memory)
        self.function = gpu.library.cuLaunchKernel

    def __call__(self, stream):
        status = self.function(*self.fixed, stream, self.pointers, None)
        if status:
            raise Refused("cuLaunchKernel", status)


class Graph:
    """What `record` enqueues on the stream, to be replayed with one call."""

    def __init__(self, gpu, stream, record):
        self.gpu, self.graph, self.instance = gpu, pointer(), pointer()
        gpu.cuStreamBeginCapture_v2(stream, 1)
        try:
            record(stream)
        finally:
            gpu.cuStreamEndCapture(stream, c.byref(self.graph))
        gpu.cuGraphInstantiateWithFlags(c.byref(self.instance), self.graph, 0)

    def __call__(self, stream):
        self.gpu.cuGraphLaunch(self.instance, stream)

    def kernels(self):
        """Blocks of each kernel in it."""
        count = size()
        self.gpu.cuGraphGetNodes(self.graph, None, c.byref(count))
        nodes, grids, node = (pointer * count.value)(), [], KernelNode()
        self.gpu.cuGraphGetNodes(self.graph, nodes, c.byref(count))
        for each in nodes:
            try:
                self.gpu.cuGraphKernelNodeGetParams_v2(each, c.byref(node))
            except Refused:
                continue   # not a kernel
            grids.append(list(node.grid))
        return grids

    def close(self):
        self.gpu.cuGraphExecDestroy(self.instance)
        self.gpu.cuGraphDestroy(self.graph)


class GPU:
    """The driver with the device's primary context current; a failed call raises Refused."""

    def __init__(self, code=None):
        self.library, self.path = load(["libcuda.so.1"])
        for name, types in FUNCTIONS.items():
            function = getattr(self.library, name)
            function.argtypes, function.restype = types, c.c_int
            setattr(self, name, self.checked(name, function))
        self.cuInit(0)
        self.device, self.primary = c.c_int(), pointer()
        self.cuDeviceGet(c.byref(self.device), 0)
        self.device = self.device.value
        self.cuDevicePrimaryCtxRetain(c.byref(self.primary), self.device)
        self.cuCtxSetCurrent(self.primary)
        self.kernels, self.allocations, self.pairs = {}, {}, {}
        if code:
            self.module = pointer()
            self.cuLibraryLoadData(c.byref(self.module), code, None, None, 0, None, None, 0)

    @staticmethod
    def checked(name, function):
        def call(*arguments):
            status = function(*arguments)
            if status:
                raise Refused(name, status)
        return call

    def attribute(self, index):
        value = c.c_int()
        self.cuDeviceGetAttribute(c.byref(value), index, self.device)
        return value.value

    def free(self):
        free, total = size(), size()
        self.cuMemGetInfo_v2(c.byref(free), c.byref(total))
        return free.value

    def allocate(self, count):
        address = word64()
        self.cuMemAlloc_v2(c.byref(address), max(count, 16))
        self.allocations[address.value] = count
        return address.value

    def release(self, address):
        self.cuMemFree_v2(address)
        del self.allocations[address]

    def pinned(self, count):
        """Host memory that copies read directly and kernels can read (portable, mapped)."""
        address = pointer()
        self.cuMemHostAlloc(c.byref(address), count, 3)
        return address.value

    def stream(self):
        stream = pointer()
        self.cuStreamCreate(c.byref(stream), 1)
        return stream

    def event(self, timed=True):
        event = pointer()
        self.cuEventCreate(c.byref(event), 0 if timed else 2)
        return event

    def kernel(self, name, memory=0):
        """A kernel that belongs to no context; `memory` is dynamic shared memory."""
        if name not in self.kernels:
            kernel = pointer()
            self.cuLibraryGetKernel(c.byref(kernel), self.module, name.encode())
            if memory > 48 << 10:
                self.cuKernelSetAttribute(8, memory, kernel, self.device)
            self.kernels[name] = kernel
        return self.kernels[name]

    def launch(self, name, grid, threads, *arguments, memory=0):
        return Launch(self, self.kernel(name, memory), grid, threads, arguments, memory)

    def read(self, address, kind, count, stream):
        """`count` values of a ctypes kind from device memory."""
        result = (kind * count)()
        self.cuMemcpyDtoHAsync_v2(result, address, c.sizeof(result), stream)
        self.cuStreamSynchronize(stream)
        return list(result)

    def clear(self, address, count, stream, value=0):
        self.cuMemsetD8Async(address, value, count, stream)

    def bytes(self, address, count, stream):
        result = c.create_string_buffer(count)
        self.cuMemcpyDtoHAsync_v2(result, address, count, stream)
        self.cuStreamSynchronize(stream)
        return result.raw

    def elapsed(self, begin, end):
        """Microseconds between two recorded events."""
        result = c.c_float()
        self.cuEventSynchronize(end)
        self.cuEventElapsedTime_v2(c.byref(result), begin, end)
        return result.value * 1e3

    def marks(self, stream):
        """Events made where the stream was, kept for it."""
        if stream.value not in self.pairs:
            before, context = pointer(), pointer()
            self.cuCtxGetCurrent(c.byref(before))
            self.cuStreamGetCtx(stream, c.byref(context))
            self.cuCtxSetCurrent(context)
            self.pairs[stream.value] = [self.event() for _ in range(65)]
            self.cuCtxSetCurrent(before)
        return self.pairs[stream.value]

    def times(self, stream, work, repeats=5, warm=1):
        """Microseconds of each repeat (at most 64) of `work(stream)` on the device."""
        marks = self.marks(stream)
        for _ in range(warm):
            work(stream)
        self.cuEventRecord(marks[0], stream)
        for i in range(repeats):
            work(stream)
            self.cuEventRecord(marks[i + 1], stream)
        self.cuStreamSynchronize(stream)
        return [self.elapsed(marks[i], marks[i + 1]) for i in range(repeats)]

    def median(self, stream, work, repeats=5, warm=1):
        return statistics.median(self.times(stream, work, repeats, warm))

    def fill(self, address, count, range, seed, stream, kind="fillHalf"):
        self.launch(kind, 1056, 256, word64(address), size(count), number(seed),
                    c.c_float(range))(stream)


class KernelNode(c.Structure):
    """CUDA_KERNEL_NODE_PARAMS of a node of a graph."""
    _fields_ = [("function", pointer), ("grid", number * 3), ("block", number * 3),
                ("shared", number), ("parameters", pointer), ("extra", pointer),
                ("kernel", pointer), ("context", pointer)]


class Primary:
    """What a partition has, for the context that has all multiprocessors."""

    def __init__(self, gpu):
        self.context, self.stream = gpu.primary, gpu.stream()
        self.multiprocessors = gpu.attribute(16)


class Partition:
    """A green context of some groups of one split, with a stream."""

    def __init__(self, gpu, resources, count):
        self.gpu, self.multiprocessors = gpu, sum(r.count for r in resources[:count])
        description, self.green = pointer(), pointer()
        self.context, self.stream = pointer(), pointer()
        began = time.perf_counter()
        gpu.cuDevResourceGenerateDesc(c.byref(description), resources, count)
        gpu.cuGreenCtxCreate(c.byref(self.green), description, gpu.device, 1)
        self.seconds = time.perf_counter() - began
        gpu.cuGreenCtxStreamCreate(c.byref(self.stream), self.green, 1, 0)
        gpu.cuCtxFromGreenCtx(c.byref(self.context), self.green)

    def close(self):
        self.gpu.cuStreamDestroy_v2(self.stream)
        self.gpu.cuGreenCtxDestroy(self.green)


class Ladder:
    """One split of the device into groups of 8 multiprocessors, and partitions made of neighbours:
    first(k) has groups 0..<k, rest(k) the others with the remainder: the two are disjoint."""

    def __init__(self, gpu, least=8):
        self.gpu, self.all = gpu, Resource()
        gpu.cuDeviceGetDevResource(gpu.device, c.byref(self.all), 1)
        count, remainder = number(self.all.count // least), Resource()
        self.groups = (Resource * (count.value + 1))()
        gpu.cuDevSmResourceSplitByCount(
            self.groups, c.byref(count), c.byref(self.all), c.byref(remainder), 0, least)
        # There may be fewer groups than that: a group lies within one cluster of the hardware.
        self.count, self.remainder = count.value, remainder.count
        self.groups[count.value] = remainder
        self.parts = self.count + (1 if self.remainder else 0)
        self.made = {}
        try:
            self.whole()
        except Refused:
            self.parts = self.count   # a remainder that contexts cannot have

    def slice(self, begin, end):
        """The partition of groups begin..<end; group `count` is the remainder."""
        if (begin, end) not in self.made:
            at = c.cast(c.byref(self.groups, begin * c.sizeof(Resource)), c.POINTER(Resource))
            self.made[begin, end] = Partition(self.gpu, at, end - begin)
        return self.made[begin, end]

    def first(self, k):
        return self.slice(0, k)

    def rest(self, k):
        return self.slice(k, self.parts)

    def whole(self):
        return self.slice(0, self.parts)

    def share(self, multiprocessors):
        """The partition of that many multiprocessors from the first on."""
        if multiprocessors >= self.all.count:
            return self.whole()
        return self.first(multiprocessors // 8)
