"""cuDNN's backend graph API: convolution + bias (+ residual) + relu as one plan, fp16, NHWC.

A plan is made for a handle, or for a description of a device ("deviceless", cuDNN 9.11 and later),
which needs no GPU: `python3 cudnn.py gpu-cudnn-device.json` makes every plan of the probe.
"""

import ctypes as c
import sys

import driver

pointer = c.c_void_p
HANDLE, DATA, BOOLEAN, INT64, FLOAT, DOUBLE = 0, 1, 2, 3, 4, 5
VOID_PTR, CONV_MODE, HEUR_MODE, POINTWISE, DESCRIPTOR, NOTE, CHAR = 6, 7, 8, 14, 15, 19, 24
KINDS = {HANDLE: pointer, DATA: c.c_int, BOOLEAN: c.c_bool, INT64: c.c_int64, FLOAT: c.c_float,
         DOUBLE: c.c_double, VOID_PTR: pointer, CONV_MODE: c.c_int, HEUR_MODE: c.c_int,
         POINTWISE: c.c_int, DESCRIPTOR: pointer, NOTE: c.c_int, CHAR: c.c_char}
HALF, SINGLE = 2, 0                       # cudnnDataType_t
ADD, RELU = 0, 100                        # cudnnPointwiseMode_t
X, W, BIAS, RESIDUAL, Y = 1, 2, 3, 4, 5   # names of the tensors in a variant pack


class CuDNN:
    def __init__(self):
        for needed in ("libcublasLt.so.13", "libnvrtc.so.13"):
            for path in driver.site("nvidia", "cu13", "lib", needed):
                c.CDLL(path, mode=c.RTLD_GLOBAL)
        found = driver.site("nvidia", "cudnn", "lib", "libcudnn.so.9") + ["libcudnn.so.9"]
        self.library, self.path = driver.load(found)
        self.library.cudnnGetVersion.restype = c.c_size_t
        self.library.cudnnGetErrorString.restype = c.c_char_p
        self.library.cudnnBackendSetAttribute.argtypes = [
            pointer, c.c_int, c.c_int, c.c_int64, pointer]
        self.library.cudnnBackendGetAttribute.argtypes = [
            pointer, c.c_int, c.c_int, c.c_int64, pointer, pointer]
        self.version = self.library.cudnnGetVersion()

    def call(self, name, *arguments):
        status = getattr(self.library, name)(*arguments)
        if status:
            reason = c.create_string_buffer(1024)
            self.library.cudnnGetLastErrorString(reason, c.c_size_t(1024))
            known = self.library.cudnnGetErrorString(status).decode()
            raise driver.Refused(f"{name} ({known}: {reason.value.decode()[:300]})", status)

    def handle(self, stream=None):
        handle = pointer()
        self.call("cudnnCreate", c.byref(handle))
        if stream is not None:
            self.call("cudnnSetStream", handle, stream)
        return handle

    def make(self, kind, *attributes):
        """A finalised descriptor; an attribute is (name, type, value or values)."""
        descriptor = pointer()
        self.call("cudnnBackendCreateDescriptor", kind, c.byref(descriptor))
        for name, type, values in attributes:
            values = values if isinstance(values, (list, bytes)) else [values]
            array = (KINDS[type] * len(values))(*values)
            self.call("cudnnBackendSetAttribute", descriptor, name, type, len(values), array)
        self.call("cudnnBackendFinalize", descriptor)
        return descriptor

    def get(self, descriptor, name, type, count):
        array, found = (KINDS[type] * count)(), c.c_int64()
        self.call("cudnnBackendGetAttribute", descriptor, name, type, count, c.byref(found), array)
        return list(array)[:found.value]

    def device_json(self, handle):
        """The description of the handle's device, for plans made without one."""
        found = c.c_int64()
        device = self.make(38, (2701, HANDLE, handle))
        self.call("cudnnBackendGetAttribute", device, 2702, CHAR, 0, c.byref(found), None)
        text = (c.c_char * found.value)()
        self.call("cudnnBackendGetAttribute", device, 2702, CHAR, found.value, c.byref(found), text)
        return text.raw[:found.value].rstrip(b"\0").decode()

    def device(self, json):
        return self.make(38, (2702, CHAR, json.encode()))

    def tensor(self, uid, dimensions, type=HALF, virtual=False):
        """Channels last: dimensions are [n, c, h, w], memory is n, h, w, c."""
        n, channels, h, w = dimensions
        strides = [h * w * channels, 1, w * channels, channels]
        return self.make(
            17, (901, DATA, type), (902, INT64, dimensions), (903, INT64, strides),
            (906, INT64, uid), (900, INT64, 16), (907, BOOLEAN, virtual))

    def pointwise(self, mode, x, y, b=None):
        operation = self.make(0, (0, POINTWISE, mode), (1, DATA, SINGLE))
        second = [(752, DESCRIPTOR, b)] if b is not None else []
        return self.make(
            13, (750, DESCRIPTOR, operation), (751, DESCRIPTOR, x), *second, (753, DESCRIPTOR, y))

    def graph(self, s, residual, relu, handle=None):
        """conv + residual + bias, relu if asked for; s is a driver.Shape."""
        output = [s.batch, s.filters, s.outHeight, s.outWidth]
        x = self.tensor(X, [s.batch, s.channels, s.height, s.width])
        w = self.tensor(W, [s.filters, s.channels, s.rows, s.columns])
        y, last = self.tensor(Y, output), self.tensor(100, output, SINGLE, True)
        convolution = self.make(
            1, (100, DATA, SINGLE), (101, CONV_MODE, 1), (106, INT64, 2),
            (102, INT64, [1, 1]), (103, INT64, [s.stride] * 2),
            (105, INT64, [s.padding] * 2), (104, INT64, [s.padding] * 2))
        operations = [self.make(
            10, (700, FLOAT, 1.0), (701, FLOAT, 0.0), (702, DESCRIPTOR, convolution),
            (704, DESCRIPTOR, x), (703, DESCRIPTOR, w), (705, DESCRIPTOR, last))]
        added = [self.tensor(RESIDUAL, output)] if residual else []
        added.append(self.tensor(BIAS, [1, s.filters, 1, 1], HALF))
        for i, tensor in enumerate(added):
            final = tensor is added[-1] and not relu
            sum = y if final else self.tensor(101 + i, output, SINGLE, True)
            operations.append(self.pointwise(ADD, last, sum, tensor))
            last = sum
        if relu:
            operations.append(self.pointwise(RELU, last, y))
        # Without its handle a graph is planned for no device at all, and the plan does not run.
        owner = [(800, HANDLE, handle)] if handle else []
        return self.make(15, *owner, (801, DESCRIPTOR, operations))

    def configurations(self, graph, device=None, most=8):
        where = [(204, DESCRIPTOR, device)] if device else []
        heuristics = self.make(4, (201, DESCRIPTOR, graph), (200, HEUR_MODE, 3), *where)
        results = []
        for _ in range(most):
            results.append(pointer())
            self.call("cudnnBackendCreateDescriptor", 3, c.byref(results[-1]))
        array, found = (pointer * most)(*results), c.c_int64()
        self.call("cudnnBackendGetAttribute", heuristics, 202, DESCRIPTOR, most, c.byref(found),
                  array)
        return results[:found.value]

    def plan(self, shape, layer, handle=None, device=None, choice=0):
        """The plan of the heuristics' configuration `choice`, or of the next one that works."""
        graph = self.graph(shape, layer.residual, layer.relu, handle)
        where = (407, DESCRIPTOR, device) if device else (400, HANDLE, handle)
        for configuration in self.configurations(graph, device)[choice:]:
            try:
                plan = self.make(5, where, (401, DESCRIPTOR, configuration))
                return Plan(self, plan, configuration)
            except driver.Refused:
                continue
        raise driver.Refused("no configuration of cuDNN makes a plan", 0)


class Plan:
    def __init__(self, cudnn, plan, configuration):
        self.cudnn, self.plan, self.keep = cudnn, plan, configuration
        self.workspace = cudnn.get(plan, 402, INT64, 1)[0]

    def engine(self):
        """The engine's number and its behaviour notes (0: compiled at run time)."""
        engine = pointer()
        self.cudnn.call("cudnnBackendCreateDescriptor", 2, c.byref(engine))
        array, found = (pointer * 1)(engine), c.c_int64()
        self.cudnn.call("cudnnBackendGetAttribute", self.keep, 300, DESCRIPTOR, 1, c.byref(found),
                        array)
        return (self.cudnn.get(engine, 1301, INT64, 1)[0], self.cudnn.get(engine, 1305, NOTE, 5))

    def bind(self, tensors, workspace):
        """tensors: addresses by name; returns what `run` takes."""
        names = sorted(tensors)
        return self.cudnn.make(
            16, (1000, INT64, names), (1001, VOID_PTR, [tensors[name] for name in names]),
            (1003, VOID_PTR, workspace))

    def run(self, handle, pack):
        self.cudnn.call("cudnnBackendExecute", handle, self.plan, pack)


def main():
    import networks
    cudnn = CuDNN()
    with open(sys.argv[1]) as file:
        device = cudnn.device(file.read())
    for name, layers in networks.NETWORKS.items():
        for layer in networks.distinct(layers):
            for batch in (1, 64):
                shape = networks.shape(layer, batch)
                plan = cudnn.plan(shape, layer, device=device)
                print(name, layer.title(), batch, "engine, notes", *plan.engine(), plan.workspace)


if __name__ == "__main__":
    main()
