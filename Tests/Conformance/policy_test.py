"""`stowage serve --policy`: whatever makes the plans, requests get the same answers."""

import concurrent.futures
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import numpy
import tritonclient.http as client
from packing_test import WIDTH, Server, make_network
from running_server import binary

POLICIES = ["no-batching", "dynamic-batching", "barm", "thesis", "clockwork", "demand-layering"]
MODELS = ["first", "second"]


class Policies(unittest.TestCase):
    def setUp(self):
        self.folder, self.cache = tempfile.TemporaryDirectory(), tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.addCleanup(self.cache.cleanup)
        first, second = (pathlib.Path(self.folder.name) / f"{name}.onnx" for name in MODELS)
        self.output, _ = make_network(first)
        shutil.copy(first, second)

    def ask(self, address, model, samples):
        rows = numpy.random.default_rng(samples).standard_normal((samples, WIDTH), numpy.float32)
        entry = client.InferInput("x", list(rows.shape), "FP32")
        entry.set_data_from_numpy(rows)
        connection = client.InferenceServerClient(address)
        answer = connection.infer(model, [entry]).as_numpy(self.output)
        connection.close()
        return answer

    def answers(self, units, *arguments):
        """Both models together need more than twice the memory."""
        flags = ["--memory", "32MiB", "--units", str(units), *arguments]
        with Server(self.folder.name, self.cache.name, *flags) as server:
            wanted = [(model, 1 + turn % 5) for turn in range(10) for model in MODELS]
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                found = pool.map(lambda one: self.ask(server.address, *one), wanted)
                return list(found)

    def test_answers_are_the_same_bits_on_one_unit(self):
        right = self.answers(1)
        for policy in POLICIES:
            with self.subTest(policy):
                for answer, expected in zip(self.answers(1, "--policy", policy), right):
                    self.assertEqual(answer.tobytes(), expected.tobytes())

    def test_answers_are_the_same_side_by_side(self):
        """Products on two units add in another order than those on one."""
        right = self.answers(2)
        for policy in ("barm", "thesis"):
            with self.subTest(policy):
                for answer, expected in zip(self.answers(2, "--policy", policy), right):
                    numpy.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)

    def test_unknown_names_are_refused(self):
        command = [binary(), "serve", "--models", self.folder.name, "--policy"]
        for arguments in (["fancy"], ["thesis", "--paging", "demand"]):
            done = subprocess.run(command + arguments, capture_output=True, text=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("polic", done.stderr)


if __name__ == "__main__":
    unittest.main()
