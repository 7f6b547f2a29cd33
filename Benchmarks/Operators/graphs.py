"""Random ONNX graphs that are valid by construction, with answers by onnxruntime.

A graph grows node by node. Each candidate is evaluated at once, as a graph of its own; one that
onnxruntime refuses, or whose result is not finite, or too large, is dropped. Beside every value
go shadows: the same computation on operands to which noise was added, a hundred times what
rounding adds. A candidate with a shadow that differs from its value stands near a discontinuity (a
tie of ArgMax, a border of Floor) or magnifies errors (a difference of nearly equal numbers), where
two right implementations may disagree; it is dropped as well. What is exact, such as inputs and
whatever only moves them, has no noise, so ties between exact elements are tested.
"""

import math

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

FLOATS = (np.float32, np.float64, np.float16)
REALS = (np.float32, np.float64)
INTEGERS = (np.int64, np.int32, np.int8, np.uint8)
SIGNED = REALS + (np.int64, np.int32)
NUMBERS = FLOATS + INTEGERS
ANY = NUMBERS + (np.bool_,)
LARGEST_VALUE, LARGEST_INTEGER, MOST_ELEMENTS, HIGHEST_RANK, SHADOWS = 1e4, 2**31 - 1, 6000, 5, 4
NOISE = {np.dtype(np.float16): 2e-3, np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-5}
ALLOWED = {np.dtype(np.float16): 1e-2, np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-4}


class Rejected(Exception):
    """A candidate that cannot be, or should not be, part of the graph."""


class Value:
    """A tensor: for each data set what it holds, and what its shadows hold."""

    def __init__(self, name, arrays, shadows):
        self.name, self.arrays, self.shadows = name, arrays, shadows
        self.readers = 0

    @property
    def shape(self):
        return list(self.arrays[0].shape)

    @property
    def rank(self):
        return self.arrays[0].ndim

    @property
    def type(self):
        return self.arrays[0].dtype.type

    def is_exact(self, place):
        """Whether the shadows of a data set are what it holds."""
        return all(shadow is self.arrays[place] for shadow in self.shadows[place])

    @property
    def element(self):
        return helper.np_dtype_to_tensor_dtype(self.arrays[0].dtype)


def quiet_session(model):
    """onnxruntime on one thread, without rewrites of its own."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def check(array, shadow):
    """Rejects results that say nothing, or that two right implementations may disagree about."""
    if array.shape != shadow.shape or array.size > MOST_ELEMENTS or array.ndim > HIGHEST_RANK:
        raise Rejected
    if array.dtype not in NOISE:
        if (
            array.dtype.kind in "iu"
            and np.abs(array.astype(np.float64)).max(initial=0) >= LARGEST_INTEGER
        ):
            raise Rejected
        if array.dtype == object or (array != shadow).any():
            raise Rejected
        return
    a, b = array.astype(np.float64), shadow.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise Rejected
    largest = np.abs(a).max(initial=0)
    if (
        largest > LARGEST_VALUE
        or (np.abs(a - b) > ALLOWED[array.dtype] * (np.abs(a) + largest)).any()
    ):
        raise Rejected


class Graph:
    """A graph under construction."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.opset = self.choose([11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23])
        # A file that fixes the batch at 1 comes with samples for several runs: they are also run
        # together where the compiler finds that samples do not depend on each other.
        self.sets = 2 if self.chance(0.3) else 1
        self.batch = 1 if self.sets > 1 else self.integer(1, 4)
        self.named = self.sets == 1 and self.chance(0.6)
        self.values, self.inputs, self.constants, self.nodes = [], [], [], []
        self.rejected, self.captured = {}, set()

    # Choices

    def integer(self, low, high):
        """An integer from low to high, both included."""
        return int(self.random.integers(low, high + 1))

    def chance(self, probability):
        return bool(self.random.random() < probability)

    def choose(self, choices):
        return choices[int(self.random.integers(len(choices)))]

    def axis(self, rank, first=0):
        """An axis, counted from the front or from the back."""
        if rank <= first:
            raise Rejected
        axis = self.integer(first, rank - 1)
        return axis - rank if self.chance(0.3) else axis

    # Values

    def elements(self, shape, dtype, low=-2.0, high=2.0):
        """Random elements; half of the real ones lie on a grid, so that some are equal."""
        dtype = np.dtype(dtype)
        if dtype == np.bool_:
            return self.random.integers(0, 2, shape).astype(dtype)
        if dtype.kind in "iu":
            start = max(int(low * 3), 0) if dtype.kind == "u" else int(low * 3)
            return self.random.integers(start, max(int(high * 4), start + 1) + 1, shape).astype(
                dtype
            )
        values = self.random.uniform(low, high, shape)
        if self.chance(0.3):
            values = np.clip(np.round(values * 4) / 4, low, high)
        return np.asarray(values, dtype)

    def input(self, shape, dtype, **bounds):
        """A new input of the graph; samples lie along its first axis where that is the batch."""
        arrays = [self.elements(shape, dtype, **bounds) for _ in range(self.sets)]
        value = Value(f"x{len(self.inputs)}", arrays, [[array] * SHADOWS for array in arrays])
        self.inputs.append(value)
        self.values.append(value)
        return value

    def constant(self, array):
        array = np.asarray(array)
        value = Value(
            f"c{len(self.constants)}", [array] * self.sets, [[array] * SHADOWS] * self.sets
        )
        self.constants.append(value)
        return value

    def weight(self, shape, dtype=np.float32, low=-1.0, high=1.0):
        return self.constant(self.elements(shape, dtype, low, high))

    def ints(self, values):
        return self.constant(np.asarray(values, np.int64))

    def pick(self, types=REALS, low=0, high=HIGHEST_RANK, where=lambda value: True):
        """A value made so far, rather a recent one."""
        found = [
            value
            for value in self.values
            if value.type in types
            and low <= value.rank <= high
            and value.arrays[0].size
            and where(value)
        ]
        if not found:
            raise Rejected
        return found[-1] if self.chance(0.6) else self.choose(found)

    def like(self, shape, dtype, **bounds):
        """An operand of a given shape and type: made so far, a constant, or an input."""
        shape = list(shape)
        found = [value for value in self.values if value.shape == shape and value.type == dtype]
        if found and self.chance(0.5) and not bounds:
            return self.choose(found)
        if len(self.inputs) < 3 and shape and shape[0] == self.batch and self.chance(0.3):
            return self.input(shape, dtype, **bounds)
        return self.constant(self.elements(shape, dtype, **bounds))

    def broadcastable(self, value, **bounds):
        """An operand that broadcasts with another value."""
        shape = list(value.shape)
        for axis in range(len(shape)):
            if self.chance(0.3):
                shape[axis] = 1
        if self.chance(0.4):
            shape = shape[self.integer(0, len(shape)) :]
        elif value.rank < 4 and self.chance(0.1):
            shape = [self.integer(1, 2)] + shape
        return self.like(shape, value.type, **bounds)

    # Nodes

    def add(self, operation, operands, outputs=1, exact=False, captured=(), **attributes):
        """Adds a node when it works and is well-conditioned; returns its first output.

        What subgraphs read from outside is `captured`.
        """
        try:
            return self._add(operation, operands, outputs, exact, attributes, captured)[0]
        except Rejected:
            self.rejected[operation] = self.rejected.get(operation, 0) + 1
            raise

    def add_all(self, operation, operands, outputs, exact=False, **attributes):
        """As `add`, but returns all outputs."""
        return self._add(operation, operands, outputs, exact, attributes)

    def _add(self, operation, operands, outputs, exact, attributes, captured=()):
        names = [f"v{len(self.nodes)}_{place}" for place in range(outputs)]
        node = helper.make_node(
            operation,
            [operand.name if operand else "" for operand in operands],
            names,
            name=f"{operation}{len(self.nodes)}",
            **attributes,
        )
        distinct = list(
            {operand.name: operand for operand in [*operands, *captured] if operand}.values()
        )
        alone = self._model(
            [node], [self._info(operand) for operand in distinct], [], [(name, 0) for name in names]
        )
        try:
            session = quiet_session(alone)
            results, shadows = [], []
            for place in range(self.sets):
                result = session.run(names, {v.name: v.arrays[place] for v in distinct})
                results.append(result)
                if all(v.is_exact(place) for v in distinct):
                    shadows.append([result] * SHADOWS)
                    continue
                shadows.append(
                    [
                        session.run(names, {v.name: v.shadows[place][copy] for v in distinct})
                        for copy in range(SHADOWS)
                    ]
                )
        except Exception as error:
            raise Rejected(str(error)) from None
        made = []
        for place, name in enumerate(names):
            arrays = [np.asarray(result[place]) for result in results]
            noisy = [
                [self._noisy(np.asarray(copy[place]), exact) for copy in shadow]
                for shadow in shadows
            ]
            for array, copies in zip(arrays, noisy):
                for copy in copies:
                    check(array, copy)
            made.append(Value(name, arrays, noisy))
        for operand in distinct:
            operand.readers += 1
        self.captured |= {value.name for value in captured}
        self.nodes.append(node)
        self.values += made
        return made

    def _noisy(self, array, exact):
        if exact or array.dtype not in NOISE or not array.size:
            return array
        noise = NOISE[array.dtype]
        spread = np.abs(array) + np.abs(array).mean()
        return (array + self.random.uniform(-noise, noise, array.shape) * spread).astype(
            array.dtype
        )

    # Results

    def _info(self, value, named=False):
        shape = value.shape
        if named and shape and shape[0] == self.batch:
            shape[0] = "n"
        return helper.make_tensor_value_info(value.name, value.element, shape)

    def _model(self, nodes, inputs, constants, outputs):
        infos = []
        for name, element in outputs:
            info = onnx.ValueInfoProto(name=name)
            if element:
                info.type.tensor_type.elem_type = element
            infos.append(info)
        graph = helper.make_graph(nodes, "random", inputs, infos, constants)
        version = helper.find_min_ir_version_for([helper.make_opsetid("", self.opset)])
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=version
        )

    def finish(self):
        """The model, its inputs and answers for each data set."""
        made = [value for value in self.values if value not in self.inputs]
        outputs = [value for value in made if not value.readers or self.chance(0.15)]
        used = {name for node in self.nodes for name in node.input} | self.captured
        inputs = [value for value in self.inputs if value.name in used]
        if not inputs or not outputs:
            raise Rejected
        constants = [
            numpy_helper.from_array(value.arrays[0], value.name)
            for value in self.constants
            if value.name in used
        ]
        model = self._model(
            self.nodes,
            [self._info(value, self.named) for value in inputs],
            constants,
            [(value.name, value.element) for value in outputs],
        )
        try:
            session = quiet_session(model)
            answers = [
                session.run([v.name for v in outputs], {v.name: v.arrays[place] for v in inputs})
                for place in range(self.sets)
            ]
        except Exception as error:
            raise Rejected(str(error)) from None
        for place, found in enumerate(answers):
            for value, array in zip(outputs, found):
                check(value.arrays[place], np.asarray(array))
        return (
            model,
            [[value.arrays[place] for value in inputs] for place in range(self.sets)],
            answers,
        )


def product(shape):
    return math.prod(shape)
