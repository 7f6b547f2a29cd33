"""A disk that became slow, and a budget that is halved while many ask: answers stay right.

The disk is slow_reads.c, preloaded: 40 MB/s for all reads together. Two networks of 32 MiB each are
asked in turn in a budget that holds one of them, so that weights have to come in again and again.
"""

import concurrent.futures
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest
import urllib.request

import numpy
import tritonclient.http as client
from packing_test import WIDTH, Server, make_network
from running_server import metric

RATE = 40_000_000
CLIENTS = 6
REQUESTS = 4  # of each client, half of them for each network


def paging(address):
    """Bytes and seconds of all page-ins so far."""
    labels = [f'{{model="{name}",version="1"' for name in ("first", "second")]
    moved = (metric(address, f'stowage_page_in_bytes_total{one},mode="planned"}}') for one in labels)
    took = (metric(address, f"stowage_page_in_seconds_total{one}}}") for one in labels)
    return sum(moved), sum(took)


class SlowDisk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(cls.folder.name)
        cls.models, cls.cache = folder / "models", folder / "cache"
        cls.models.mkdir()
        cls.output, cls.weights = make_network(cls.models / "first.onnx")
        shutil.copy(cls.models / "first.onnx", cls.models / "second.onnx")
        cls.library = folder / "slow_reads.so"
        source = pathlib.Path(__file__).with_name("slow_reads.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", cls.library, source], check=True)
        # Packed at full speed.
        with Server(str(cls.models), str(cls.cache)):
            pass

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def ask(self, address, number):
        """The requests of one client, each checked; returns how many were answered."""
        connection = client.InferenceServerClient(address, network_timeout=600)
        draw = numpy.random.default_rng(number)
        for turn in range(REQUESTS):
            rows = draw.standard_normal((1 + (number + turn) % 3, WIDTH)).astype(numpy.float32)
            tensor = client.InferInput("x", list(rows.shape), "FP32")
            tensor.set_data_from_numpy(rows)
            model = ("first", "second")[(number + turn) % 2]
            found = connection.infer(model, [tensor]).as_numpy(self.output)
            expected = rows.astype(numpy.float64)
            for matrix in self.weights:
                expected = numpy.maximum(expected @ matrix, 0)
            numpy.testing.assert_allclose(
                found, expected, rtol=0, atol=1e-4 * numpy.abs(expected).max())
        return REQUESTS

    def ask_all(self, server, meanwhile=lambda: None):
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            asked = [pool.submit(self.ask, server.address, number) for number in range(CLIENTS)]
            meanwhile()
            self.assertEqual(sum(one.result() for one in asked), CLIENTS * REQUESTS)
        self.assertIsNone(server.process.poll(), "The server ended.")

    def slow_server(self, *arguments):
        before = {name: os.environ.get(name) for name in ("LD_PRELOAD", "SLOW_READS_PER_SECOND")}
        os.environ.update(LD_PRELOAD=str(self.library), SLOW_READS_PER_SECOND=str(RATE))
        try:
            return Server(str(self.models), str(self.cache), *arguments).__enter__()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    def test_answers_are_right_and_weights_come_in_again(self):
        server = self.slow_server("--memory", "64MiB")
        self.addCleanup(server.__exit__)
        self.ask_all(server)
        moved, took = paging(server.address)
        self.assertGreater(moved, 80 << 20, "The networks were to come in more than once.")
        self.assertLessEqual(moved / took, 1.01 * RATE, "The disk was not slow.")
        with urllib.request.urlopen(
                f"http://{server.address}/v2/health/ready", timeout=60) as answer:
            self.assertEqual(answer.status, 200)

    def test_budget_is_halved_meanwhile(self):
        with tempfile.NamedTemporaryFile("w", suffix=".memory") as file:
            def say(size):
                file.seek(0)
                file.truncate()
                file.write(size)
                file.flush()

            say("96MiB")
            server = self.slow_server("--memory", f"@{file.name}")
            self.addCleanup(server.__exit__)

            def halve():
                while paging(server.address)[0] < 8 << 20:
                    self.assertIsNone(server.process.poll(), "The server ended.")
                say("48MiB")
                server.process.send_signal(signal.SIGHUP)

            self.ask_all(server, halve)
            self.assertEqual(
                metric(server.address, "stowage_memory_budget_bytes"), 48 << 20)


if __name__ == "__main__":
    unittest.main()
