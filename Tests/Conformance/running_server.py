"""A Stowage server for tests: small models made on the spot, a free port, an orderly end."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.request

import numpy
import onnx
from onnx import TensorProto, helper

ROOT = pathlib.Path(__file__).resolve().parents[2]


def binary():
    """The built executable: $STOWAGE_BINARY, as Scripts/test sets it, or the debug build."""
    path = pathlib.Path(os.environ.get("STOWAGE_BINARY", ROOT / ".build/debug/stowage"))
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `swift build` or set STOWAGE_BINARY.")
    return str(path)


def save(folder, name, nodes, inputs, outputs):
    """Writes NAME.onnx with the given nodes."""
    graph = helper.make_graph(nodes, name, inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(pathlib.Path(folder) / f"{name}.onnx"))


def make_models(folder):
    """digits; sum (two inputs, two outputs); quotient (makes NaN); double (wide); pick (fails
    for an index beyond its table); refused (unknown operator)."""
    shutil.copy(ROOT / "Models/digits.onnx", folder)
    row = ["n", 4]
    tensor = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, row)
    save(
        folder,
        "sum",
        [helper.make_node("Add", ["a", "b"], ["c"]), helper.make_node("Sub", ["a", "b"], ["d"])],
        [tensor("a"), tensor("b")],
        [tensor("c"), tensor("d")],
    )
    save(
        folder,
        "quotient",
        [helper.make_node("Div", ["a", "b"], ["c"])],
        [tensor("a"), tensor("b")],
        [tensor("c")],
    )
    wide = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 60_000])
    save(folder, "double", [helper.make_node("Add", ["a", "a"], ["c"])], [wide("a")], [wide("c")])
    save(
        folder,
        "pick",
        [
            helper.make_node("Constant", [], ["table"], value_floats=[1.0, 2.0, 3.0]),
            helper.make_node("Gather", ["table", "index"], ["c"], name="n5"),
        ],
        [helper.make_tensor_value_info("index", TensorProto.INT64, ["n", 1])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, ["n", 1])],
    )
    save(
        folder,
        "refused",
        [helper.make_node("Frobnicate", ["a"], ["c"], name="n7")],
        [tensor("a")],
        [tensor("c")],
    )


def metric(address, name):
    """The value of a series, labels included, as /metrics shows it."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(found[1])


class RunningServer:
    """`with RunningServer() as server:` serves the models until the block ends."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.cache = tempfile.TemporaryDirectory()
        make_models(self.folder.name)
        command = [binary(), "serve", "--models", self.folder.name, "--port", "0"]
        command += ["--cache", self.cache.name]
        self.process = subprocess.Popen(
            command + list(self.arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"http://([0-9.]+):([0-9]+)", line)
            if found:
                self.host, self.port = found[1], int(found[2])
                break
        else:
            self.process.wait()
            self.folder.cleanup()
            raise RuntimeError("The server ended before it was ready:\n" + "".join(self.lines))
        # Read on, or the server would block on a full pipe.
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.address = f"{self.host}:{self.port}"
        self.url = f"http://{self.address}"
        return self

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def metric(self, name):
        return metric(self.address, name)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.code = self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.reader.join()
            self.process.stdout.close()
            self.folder.cleanup()
            self.cache.cleanup()


def digit(name):
    """The picture in Examples/digits/NAME.json as an array for `digits`."""
    document = json.loads((ROOT / f"Examples/digits/{name}.json").read_text())
    entry = document["inputs"][0]
    return numpy.array(entry["data"], dtype=numpy.float32).reshape(entry["shape"])
