#!/usr/bin/env python3
"""Makes the nine classic networks of the onnx package with seeded random weights.

The package ships them with one constant for all weights, under which wrong padding or a wrong order
of channels still gives the right answer. Here convolutions and products get He-scaled normal weights,
normalisations plausible statistics, and the last layer is scaled until its output has a standard
deviation of 2.

    python3 Benchmarks/Networks/randomize.py FOLDER [NAME...] [--batch dynamic|one]

`--batch one` keeps the batch of 1 that the files were exported with, constant reshapes included;
`dynamic` (the default) gives axis 0 a name, so that onnxruntime accepts any batch too.
"""

import argparse
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

NETWORKS = {
    "alexnet": "bvlc_alexnet",
    "densenet121": "densenet121",
    "inception_v1": "inception_v1",
    "inception_v2": "inception_v2",
    "resnet50": "resnet50",
    "shufflenet": "shufflenet",
    "squeezenet": "squeezenet",
    "vgg19": "vgg19",
    "zfnet512": "zfnet512",
}
ROLES = {
    "Conv": {1: "weight", 2: "bias"},
    "Gemm": {1: "weight", 2: "bias"},
    "BatchNormalization": {1: "scale", 2: "bias", 3: "mean", 4: "variance"},
    "Mul": {1: "scale"},
    "Add": {1: "bias"},
    "Sum": {1: "bias"},
}


def light(name):
    folder = pathlib.Path(onnx.__file__).parent / "backend/test/data/light"
    return folder / f"light_{NETWORKS[name]}.onnx"


def roles_of_constants(graph, constants):
    """What each constant is for, seen through the reshapes between it and its reader."""
    alias, roles = {}, {}
    for node in graph.node:
        if node.op_type in ("Reshape", "Unsqueeze") and node.input[0] in constants | alias.keys():
            alias[node.output[0]] = alias.get(node.input[0], node.input[0])
    for node in graph.node:
        for position, source in enumerate(node.input):
            source = alias.get(source, source)
            role = ROLES.get(node.op_type, {}).get(position)
            if source in constants and role:
                roles.setdefault(source, role)
    return roles


def values(role, shape, random):
    if role == "weight":
        fan_in = int(np.prod(shape[1:]))
        return random.normal(0, np.sqrt(2 / fan_in), shape)
    if role in ("scale", "variance"):
        return random.uniform(0.5, 1.5, shape)
    return random.normal(0, 0.1, shape)


def randomize(name, batch, seed=11):
    """The network as a ModelProto."""
    random = np.random.default_rng([seed, list(NETWORKS).index(name)])
    model = onnx.load(light(name))
    graph = model.graph
    initializers = {i.name: numpy_helper.to_array(i) for i in graph.initializer}

    filled = {n.output[0]: n for n in graph.node if n.op_type == "ConstantOfShape"}
    shapes = {o: tuple(int(d) for d in initializers[n.input[0]]) for o, n in filled.items()}
    shapes |= {k: v.shape for k, v in initializers.items() if v.dtype == np.float32}
    roles = roles_of_constants(graph, set(shapes))
    constants = {k: v for k, v in initializers.items() if v.dtype != np.float32}
    for node in filled.values():
        constants.pop(node.input[0], None)
    for key, role in sorted(roles.items()):
        constants[key] = values(role, shapes[key], random).astype(np.float32)

    if batch == "dynamic":
        for node in graph.node:
            if node.op_type == "Reshape" and node.input[0] not in constants:
                target = constants[node.input[1]].copy()
                target[0] = 0
                constants[node.input[1]] = target
    kept = [n for n in graph.node if n.op_type != "ConstantOfShape"]
    real = [i for i in graph.input if i.name not in initializers]
    for value in (*real, *graph.output):
        if batch == "dynamic":
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    rebuilt = onnx.helper.make_graph(kept, name, real, graph.output, [])
    result = onnx.helper.make_model(rebuilt, opset_imports=model.opset_import, ir_version=4)
    last = [n for n in kept if n.op_type in ("Conv", "Gemm")][-1]
    scale_last(result, last, constants)
    return result


def scale_last(model, last, constants):
    """Scales the last convolution or product, then stores all constants."""

    def store():
        del model.graph.initializer[:]
        model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())

    store()
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.append(
        onnx.helper.make_tensor_value_info(last.output[0], onnx.TensorProto.FLOAT, None)
    )
    session = onnxruntime.InferenceSession(probe.SerializeToString())
    image = np.random.default_rng(2).random((1, 3, 224, 224), np.float32)
    spread = session.run(None, {session.get_inputs()[0].name: image})[0].std()
    producers = {o: n for n in model.graph.node for o in n.output}
    for name in last.input[1:]:
        while name not in constants:
            name = producers[name].input[0]
        constants[name] = (constants[name] * (2 / spread)).astype(np.float32)
    store()


def write_all(folder, names=NETWORKS, batch="dynamic"):
    """Writes `NAME.onnx` for each name that is not there yet."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / f"{name}.onnx"
        if not path.exists():
            onnx.save(randomize(name, batch), path)
            print(f"wrote {path.name}, {path.stat().st_size / 1e6:.1f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="*", choices=[*NETWORKS, []])
    parser.add_argument("--batch", choices=["dynamic", "one"], default="dynamic")
    arguments = parser.parse_args()
    write_all(arguments.folder, arguments.names or NETWORKS, arguments.batch)


if __name__ == "__main__":
    main()
