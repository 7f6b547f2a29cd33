#!/usr/bin/env python3
"""Makes a graph that differs smaller, as long as it differs, and prints what is left.

    Benchmarks/Operators/reduce.py --binary OPERATORCHECK WAY FOLDER...

A folder is one that differential.py kept. Nodes leave from both ends: an output that agrees is
dropped, and a value becomes an input of the graph, or a constant, so that the nodes that only made
it are not needed any more. The small graph is written to FOLDER/reduced.
"""

import argparse
import pathlib
import shutil
import subprocess

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

OF_LARGEST = "3e-4"


def read_inputs(folder):
    """The inputs of each data set."""
    sets = []
    for data in sorted(folder.glob("test_data_set_*")):
        paths = sorted(data.glob("input_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
        sets.append([numpy_helper.to_array(onnx.load_tensor(str(path))) for path in paths])
    return sets


def all_values(model, sets):
    """Every value of the graph, for each data set."""
    whole = onnx.ModelProto.FromString(model.SerializeToString())
    del whole.graph.output[:]
    names = [name for node in model.graph.node for name in node.output if name]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options)
    fed = [info.name for info in model.graph.input]
    found = []
    for inputs in sets:
        values = dict(zip(fed, inputs))
        found.append(values | dict(zip(names, session.run(names, values))))
    return found


def cut(model, values, outputs, given, fixed):
    """The part of a graph between given values (inputs), fixed ones (constants) and outputs."""
    needed, nodes, initial = set(outputs), [], {t.name: t for t in model.graph.initializer}
    for node in reversed(model.graph.node):
        makes = [name for name in node.output if name in needed - given - fixed]
        if makes:
            nodes.insert(0, node)
            needed.update(name for name in node.input if name)
    inputs = [
        name
        for name in values[0]
        if name in needed and (name in given or name in {info.name for info in model.graph.input})
    ]
    infos = {info.name: info for info in model.graph.input}
    constants = [initial[name] for name in initial if name in needed]
    constants += [
        numpy_helper.from_array(np.asarray(values[0][name]), name)
        for name in fixed
        if name in needed
    ]

    def info(name):
        array = values[0][name]
        return infos.get(name) or helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )

    graph = helper.make_graph(
        nodes,
        "reduced",
        [info(name) for name in inputs],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        constants,
    )
    for output in graph.output:
        output.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(
            np.asarray(values[0][output.name]).dtype
        )
    return (
        helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version),
        inputs,
    )


def write(folder, model, inputs, values):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    outputs = [info.name for info in model.graph.output]
    for index, found in enumerate(values):
        data = folder / f"test_data_set_{index}"
        data.mkdir()
        for kind, names in (("input", inputs), ("output", outputs)):
            for place, name in enumerate(names):
                tensor = numpy_helper.from_array(np.asarray(found[name]))
                (data / f"{kind}_{place}.pb").write_bytes(tensor.SerializeToString())


def verdict(binary, way, folder):
    done = subprocess.run(
        [binary, way, "--of-largest", OF_LARGEST, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or f"the process died: {done.stderr.strip()[:300]}"


def reduce(binary, way, folder):
    model = onnx.load(folder / "model.onnx")
    values, place = all_values(model, read_inputs(folder)), folder / "reduced"
    outputs, given, fixed = [info.name for info in model.graph.output], set(), set()

    def differs(*choice):
        smaller, inputs = cut(model, values, *choice)
        if not inputs or not smaller.graph.node:
            return False
        write(place, smaller, inputs, values)
        return not verdict(binary, way, place).startswith("PASS")

    for name in list(outputs):
        rest = [other for other in outputs if other != name]
        if rest and differs(rest, given, fixed):
            outputs = rest
    for node in reversed(model.graph.node):
        for name in node.output:
            if not name or name in outputs:
                continue
            if len(values) == 1 and differs(outputs, given, fixed | {name}):
                fixed = fixed | {name}
            elif differs(outputs, given | {name}, fixed):
                given = given | {name}
    differs(outputs, given, fixed)
    return place


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", required=True, help="an OperatorCheck that is built")
    parser.add_argument("way")
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    for folder in options.folders:
        place = reduce(options.binary, options.way, folder)
        print(verdict(options.binary, options.way, place))
        print(onnx.printer.to_text(onnx.load(place / "model.onnx")))


if __name__ == "__main__":
    main()
