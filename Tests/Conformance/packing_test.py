"""Packed weights survive what machines do: kill -9 while packing, a full disk, damaged files.

Also what a server does about memory that changes or cannot suffice: SIGHUP, 507.
"""

import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import numpy
import onnx
import tritonclient.http as client
from onnx import TensorProto, helper, numpy_helper
from running_server import ROOT, binary, metric

SEED = 20240611
KILLS = 100
WIDTH = 1024
LAYERS = 8
MANY = 20


def make_network(path):
    """Eight products of 4 MiB of weights each, large enough to be killed in the middle of."""
    rng = numpy.random.default_rng(SEED)
    nodes, weights, last = [], [], "x"
    for index in range(LAYERS):
        matrix = rng.standard_normal((WIDTH, WIDTH), dtype=numpy.float32) / WIDTH**0.5
        weights.append(numpy_helper.from_array(matrix, f"w{index}"))
        product, out = f"p{index}", f"r{index}"
        nodes.append(helper.make_node("Gemm", [last, f"w{index}"], [product]))
        nodes.append(helper.make_node("Relu", [product], [out]))
        last = out
    tensor = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDTH])
    graph = helper.make_graph(nodes, "deep", [tensor("x")], [tensor(last)], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return last, [numpy_helper.to_array(weight) for weight in weights]


class Server:
    """`with Server(models, cache, ...) as server:` serves a folder until the block ends."""

    def __init__(self, models, cache, *arguments, errors=None):
        command = [binary(), "serve", "--models", models, "--cache", cache, "--port", "0"]
        self.command, self.errors = command + list(arguments), errors or subprocess.DEVNULL

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        found = re.search(r"http://(\S+)", self.process.stdout.readline())
        if found is None:
            raise RuntimeError(f"The server ended early, code {self.process.wait()}.")
        self.address = found[1]
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        self.code = self.process.wait(timeout=60)
        self.process.stdout.close()


class Packing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.models = pathlib.Path(cls.folder.name) / "models"
        cls.models.mkdir()
        cls.output, cls.weights = make_network(cls.models / "deep.onnx")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.cache = tempfile.TemporaryDirectory()
        self.addCleanup(self.cache.cleanup)

    def packed(self):
        return list(pathlib.Path(self.cache.name).glob("*.weights"))

    def pack(self, **options):
        command = [binary(), "pack", "--models", str(self.models), "--cache", self.cache.name]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options
        )

    def server(self, *arguments):
        return Server(str(self.models), self.cache.name, *arguments)

    def check_answer(self, server, samples=3):
        rows = numpy.random.default_rng(samples).standard_normal((samples, WIDTH))
        rows = rows.astype(numpy.float32)
        tensor = client.InferInput("x", list(rows.shape), "FP32")
        tensor.set_data_from_numpy(rows)
        found = client.InferenceServerClient(server.address).infer("deep", [tensor])
        expected = rows.astype(numpy.float64)
        for matrix in self.weights:
            expected = numpy.maximum(expected @ matrix, 0)
        scale = numpy.abs(expected).max()
        numpy.testing.assert_allclose(
            found.as_numpy(self.output), expected, rtol=0, atol=1e-4 * scale
        )

    def test_kill_at_any_point_leaves_nothing_or_everything(self):
        begin = time.monotonic()
        whole = self.pack()
        self.assertEqual(whole.wait(), 0, whole.stderr.read())
        whole.stderr.close()
        duration = time.monotonic() - begin
        (reference,) = self.packed()
        content = reference.read_bytes()
        moments, interrupted = random.Random(SEED), 0
        for attempt in range(KILLS):
            for path in pathlib.Path(self.cache.name).iterdir():
                if moments.random() < 0.5 or path.suffix == ".weights":
                    path.unlink()
            moment = moments.uniform(0, duration)
            process = self.pack()
            try:
                process.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                process.kill()
                interrupted += 1
                process.wait()
            process.stderr.close()
            for path in self.packed():
                message = f"seed {SEED}, attempt {attempt}, killed after {moment:.4f} s"
                self.assertEqual(path.read_bytes(), content, message)
        self.assertGreater(interrupted, KILLS // 4)
        with self.server() as server:
            self.check_answer(server)
        self.assertEqual([path.name for path in self.packed()], [reference.name])

    def test_weights_that_no_start_uses_go(self):
        """Another number of samples is another file; a limit keeps the one that is in use."""
        self.assertEqual(self.pack_quietly("--max-batch", "2"), 0)
        (old,) = self.packed()
        self.assertEqual(self.pack_quietly("--max-batch", "4"), 0)
        self.assertEqual(len(self.packed()), 2)
        os.utime(old, (1, 1))
        limit = old.stat().st_size * 3 // 2
        with self.server("--max-batch", "4", "--cache-limit", f"{limit}B") as server:
            for _ in range(500):
                if not old.exists():
                    break
                time.sleep(0.01)
            self.assertNotIn(old, self.packed())
            self.assertEqual(len(self.packed()), 1)
            self.check_answer(server)

    def test_of_many_models_those_that_are_asked_are_prepared(self):
        """A second start reads no more of the models beyond the first than their sheets."""
        with tempfile.TemporaryDirectory() as folder:
            models = pathlib.Path(folder)
            for number in range(MANY):
                shutil.copy(ROOT / "Models/digits.onnx", models / f"m{number:02}.onnx")
            body = (ROOT / "Examples/digits/7-1.json").read_bytes()

            def ask(server, number):
                url = f"http://{server.address}/v2/models/m{number:02}/infer"
                with urllib.request.urlopen(url, data=body, timeout=60) as answer:
                    return json.load(answer)["outputs"]

            with Server(folder, self.cache.name) as server:
                first = [ask(server, number) for number in range(MANY)]
            with Server(folder, self.cache.name) as server:
                self.assertEqual([ask(server, number) for number in range(MANY - 1)], first[:-1])
                # Its kernels would be those of another file by now.
                shutil.copy(ROOT / "Models/digits.onnx", models / "new.onnx")
                os.replace(models / "new.onnx", models / f"m{MANY - 1:02}.onnx")
                with self.assertRaises(urllib.error.HTTPError) as raised:
                    ask(server, MANY - 1)
                self.assertEqual(raised.exception.code, 500)
                self.assertIn("has changed since the start", raised.exception.read().decode())
            with Server(folder, self.cache.name) as server:
                self.assertEqual(ask(server, MANY - 1), first[-1])

    def pack_quietly(self, *arguments):
        command = [binary(), "pack", "--models", str(self.models), "--cache", self.cache.name]
        return subprocess.run(
            command + list(arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).returncode

    def test_full_disk_is_named_and_leaves_nothing(self):
        limit = 8 << 20

        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        process = self.pack(preexec_fn=small_files)
        _, errors = process.communicate()
        self.assertGreater(process.returncode, 0, errors)
        self.assertIn("cannot be written", errors)
        self.assertIn("--cache", errors)
        self.assertEqual(self.packed(), [])
        partial = list(pathlib.Path(self.cache.name).glob("*.partial"))
        self.assertEqual(partial, [])
        with self.server() as server:
            self.check_answer(server)

    def test_damage_before_the_start_is_found(self):
        with self.server() as server:
            self.check_answer(server)
        (path,) = self.packed()
        content = path.read_bytes()
        damages = {
            "shortened": content[: len(content) // 2],
            "a bit flipped": bytes([content[0] ^ 1]) + content[1:],
            "empty": b"",
        }
        for name, damaged in damages.items():
            with self.subTest(name):
                path.write_bytes(damaged)
                with self.server("--memory", "24MiB") as server:
                    self.answer_after_repacking(server)

    def answer_after_repacking(self, server):
        """A damaged file may cost requests, each with a sentence, and never a wrong answer."""
        for _ in range(200):
            try:
                return self.check_answer(server)
            except client.InferenceServerException as error:
                self.assertRegex(str(error), r"packed anew|being loaded|was unloaded")
                self.assertIsNone(server.process.poll(), "The server ended.")
                time.sleep(0.05)
        self.fail("The model was not packed anew.")

    def test_shortened_while_serving_neither_kills_nor_lies(self):
        with self.server("--memory", "24MiB") as server:
            self.check_answer(server)
            (path,) = self.packed()
            with open(path, "r+b") as file:
                file.truncate(path.stat().st_size // 4)
            self.answer_after_repacking(server)
            self.assertIsNone(server.process.poll(), "The server ended.")

    def test_memory_changes_while_serving(self):
        with tempfile.NamedTemporaryFile("w", suffix=".memory") as file:
            def say(size):
                file.seek(0)
                file.truncate()
                file.write(size)
                file.flush()

            say("64MiB")
            with self.server("--memory", f"@{file.name}") as server:
                for megabytes in (64, 24, 48, 20, 64):
                    say(f"{megabytes}MiB")
                    server.process.send_signal(signal.SIGHUP)
                    for _ in range(500):
                        if metric(server.address, "stowage_memory_budget_bytes") == megabytes << 20:
                            break
                        time.sleep(0.01)
                    else:
                        self.fail(f"The budget did not become {megabytes} MiB.")
                    for samples in (1, 4):
                        self.check_answer(server, samples)

    def test_what_can_never_fit_is_refused(self):
        with self.server("--memory", "1MiB") as server:
            rows = numpy.zeros((2, WIDTH), numpy.float32)
            request = urllib.request.Request(
                f"http://{server.address}/v2/models/deep/infer",
                data=(
                    '{"inputs":[{"name":"x","datatype":"FP32","shape":[2,%d],"data":[%s]}]}'
                    % (WIDTH, ",".join("0" for _ in range(rows.size)))
                ).encode(),
            )
            with self.assertRaises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(request, timeout=60)
            body = raised.exception.read().decode()
            self.assertEqual(raised.exception.code, 507, body)
            self.assertRegex(body, r"[0-9]")


if __name__ == "__main__":
    unittest.main()
