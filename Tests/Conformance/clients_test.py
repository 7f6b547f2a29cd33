"""The clients that people use, unchanged, against a running server."""

import asyncio
import json
import pathlib
import subprocess
import tempfile
import unittest

import numpy
import requests
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from running_server import ROOT, RunningServer, binary, digit


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = RunningServer().__enter__()
        cls.addClassCleanup(cls.server.__exit__)

    def row(self, name, values, binary_data=True):
        array = numpy.array([values], dtype=numpy.float32)
        tensor = triton.InferInput(name, list(array.shape), "FP32")
        tensor.set_data_from_numpy(array, binary_data=binary_data)
        return tensor

    def rows(self, binary_data=True):
        return [
            self.row("a", [1, 2, 3, 4.5], binary_data),
            self.row("b", [4, 3, 2, 1], binary_data),
        ]


class Tritonclient(Clients):
    def setUp(self):
        self.client = triton.InferenceServerClient(self.server.address)
        self.addCleanup(self.client.close)

    def test_health_and_metadata(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("digits"))
        self.assertTrue(self.client.is_model_ready("digits", "1"))
        self.assertFalse(self.client.is_model_ready("refused"))
        self.assertFalse(self.client.is_model_ready("nobody"))
        self.assertIn("binary_tensor_data", self.client.get_server_metadata()["extensions"])
        metadata = self.client.get_model_metadata("digits")
        self.assertEqual(metadata["versions"], ["1"])
        self.assertEqual(metadata["inputs"][0]["name"], "image")
        self.assertEqual(metadata["inputs"][0]["shape"][1:], [1, 8, 8])

    def test_inference_in_all_four_ways(self):
        for sent in (True, False):
            for received in (True, False):
                with self.subTest(sent=sent, received=received):
                    outputs = [
                        triton.InferRequestedOutput(name, binary_data=received) for name in "dc"
                    ]
                    result = self.client.infer(
                        "sum", self.rows(sent), outputs=outputs, request_id="q-7"
                    )
                    numpy.testing.assert_array_equal(result.as_numpy("c"), [[5, 5, 5, 5.5]])
                    numpy.testing.assert_array_equal(result.as_numpy("d"), [[-3, -1, 1, 3.5]])
                    answer = result.get_response()
                    self.assertEqual(answer["id"], "q-7")
                    self.assertEqual([output["name"] for output in answer["outputs"]], ["d", "c"])

    def test_without_outputs_all_come_as_bytes(self):
        result = self.client.infer("sum", self.rows(), model_version="1")
        numpy.testing.assert_array_equal(result.as_numpy("c"), [[5, 5, 5, 5.5]])
        numpy.testing.assert_array_equal(result.as_numpy("d"), [[-3, -1, 1, 3.5]])

    def test_samples_of_one_request_stay_in_order(self):
        random = numpy.random.default_rng(5)
        a, b = random.standard_normal((2, 7, 4)).astype(numpy.float32)
        inputs = []
        for name, array in (("a", a), ("b", b)):
            tensor = triton.InferInput(name, [7, 4], "FP32")
            inputs.append(tensor.set_data_from_numpy(array))
        numpy.testing.assert_array_equal(self.client.infer("sum", inputs).as_numpy("c"), a + b)

    def test_digits(self):
        tensor = triton.InferInput("image", [1, 1, 8, 8], "FP32")
        tensor.set_data_from_numpy(digit("7-1"))
        result = self.client.infer("digits", [tensor])
        self.assertEqual(result.as_numpy("digit").tolist(), [7])
        self.assertEqual(result.as_numpy("probabilities").argmax(), 7)

    def test_classification_comes_as_strings(self):
        for received in (True, False):
            output = triton.InferRequestedOutput("d", binary_data=received, class_count=2)
            result = self.client.infer("sum", self.rows(), outputs=[output])
            self.assertEqual(result.as_numpy("d").astype(str).tolist(), [["3.5:3", "1.0:2"]])

    def test_errors_carry_status_and_sentence(self):
        for model, inputs, status, says in (
            ("nobody", self.rows(), "404", "no model 'nobody'"),
            ("refused", self.rows(), "503", "Frobnicate"),
            ("sum", self.rows()[:1], "400", "'b'"),
        ):
            with self.subTest(model=model), self.assertRaises(InferenceServerException) as caught:
                self.client.infer(model, inputs)
            self.assertEqual(caught.exception.status(), status)
            self.assertIn(says, caught.exception.message())

    def test_priority_and_timeout_are_taken(self):
        result = self.client.infer("sum", self.rows(), priority=1, timeout=30_000_000)
        self.assertIsNotNone(result.as_numpy("c"))
        with self.assertRaises(InferenceServerException) as caught:
            self.client.infer("sum", self.rows(), timeout=1)
        self.assertEqual(caught.exception.status(), "504")

    def test_sequences_are_refused(self):
        with self.assertRaises(InferenceServerException) as caught:
            self.client.infer("sum", self.rows(), sequence_id=3, sequence_start=True)
        self.assertEqual(caught.exception.status(), "501")

    def test_compression(self):
        with self.assertRaises(InferenceServerException) as caught:
            self.client.infer("sum", self.rows(), request_compression_algorithm="gzip")
        self.assertEqual(caught.exception.status(), "415")
        result = self.client.infer("sum", self.rows(), response_compression_algorithm="gzip")
        self.assertIsNotNone(result.as_numpy("c"))

    def test_asynchronous_requests(self):
        client = triton.InferenceServerClient(self.server.address, concurrency=8)
        pending = [client.async_infer("sum", self.rows()) for _ in range(64)]
        for request in pending:
            numpy.testing.assert_array_equal(
                request.get_result().as_numpy("c"), [[5, 5, 5, 5.5]]
            )
        client.close()

    def test_asyncio(self):
        async def ask():
            async with triton_aio.InferenceServerClient(self.server.address) as client:
                self.assertTrue(await client.is_server_ready())
                self.assertEqual((await client.get_model_metadata("sum"))["name"], "sum")
                results = await asyncio.gather(
                    *(client.infer("sum", self.rows()) for _ in range(16))
                )
                with self.assertRaises(InferenceServerException):
                    await client.infer("nobody", self.rows())
            return results

        for result in asyncio.run(ask()):
            numpy.testing.assert_array_equal(result.as_numpy("c"), [[5, 5, 5, 5.5]])


class Requests(Clients):
    def url(self, path):
        return self.server.url + path

    def body(self, **members):
        row = {"shape": [1, 4], "datatype": "FP32"}
        inputs = [
            {"name": "a", "data": [1, 2, 3, 4], **row},
            {"name": "b", "data": [[4, 3, 2, 1]], **row},
        ]
        return {"inputs": inputs, **members}

    def test_one_session_asks_many_times(self):
        with requests.Session() as session:
            for index in range(50):
                answer = session.post(
                    self.url("/v2/models/sum/infer"), json=self.body(id=f"é {index}")
                )
                document = answer.json()
                self.assertEqual(document["id"], f"é {index}")
                self.assertEqual(document["outputs"][0]["data"], [5, 5, 5, 5])

    def test_unknown_members_are_ignored(self):
        answer = requests.post(
            self.url("/v2/models/sum/infer"),
            json=self.body(model_name="sum", parameters={"traceparent": "x"}, more=[None, {}]),
        )
        self.assertEqual(answer.status_code, 200)

    def test_an_error_leaves_the_connection_usable(self):
        with requests.Session() as session:
            for body in ("{", "[]", "", '{"inputs":[{"name":"a"}]}'):
                answer = session.post(self.url("/v2/models/sum/infer"), data=body)
                self.assertEqual(answer.status_code, 400, body)
                self.assertIn("error", answer.json())
            self.assertEqual(
                session.post(self.url("/v2/models/sum/infer"), json=self.body()).status_code, 200
            )

    def test_strings_where_numbers_belong(self):
        for body in (
            self.body(inputs=[{"name": "a", "datatype": "BYTES", "shape": [1], "data": ["é"]}]),
        ):
            answer = requests.post(self.url("/v2/models/sum/infer"), json=body)
            self.assertEqual(answer.status_code, 400)

    def test_metrics(self):
        requests.post(self.url("/v2/models/sum/infer"), json=self.body())
        answer = requests.get(self.url("/metrics"))
        self.assertTrue(answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        self.assertRegex(answer.text, r'(?m)^nv_inference_request_success\{.*model="sum".*\} [1-9]')


class Curl(Clients):
    def curl(self, *arguments):
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--max-time", "60", *arguments],
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def url(self, model):
        return f"{self.server.url}/v2/models/{model}/infer"

    def test_the_readmes_line_answers_with_the_digit(self):
        for path in sorted((ROOT / "Examples/digits").glob("*.json")):
            with self.subTest(path=path.name):
                outputs = json.loads(self.curl("-d", f"@{path}", self.url("digits")))["outputs"]
                answer = next(output for output in outputs if output["name"] == "digit")
                self.assertEqual(answer["data"], [int(path.name[0])])

    def test_a_large_body_with_expect_and_chunks(self):
        row = numpy.random.default_rng(9).standard_normal((1, 60_000)).astype(numpy.float32)
        entry = {"name": "a", "shape": [1, 60_000], "datatype": "FP32", "data": row.tolist()}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"inputs": [entry]}, file)
            file.flush()
            self.assertGreater(pathlib.Path(file.name).stat().st_size, 1 << 20)
            for headers in (["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"]):
                text = self.curl(*headers, "--data-binary", f"@{file.name}", self.url("double"))
                data = numpy.array(json.loads(text)["outputs"][0]["data"], dtype=numpy.float32)
                numpy.testing.assert_array_equal(data, row[0] * 2)

    def test_health(self):
        self.assertEqual(self.curl(self.server.url + "/v2/health/live"), '{"live":true}')


class CommandLine(Clients):
    def stowage(self, *arguments):
        return subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=120)

    def infer(self, *arguments):
        return self.stowage("infer", "--url", self.server.url, *arguments)

    def test_a_json_request(self):
        done = self.infer("--model", "digits", str(ROOT / "Examples/digits/7-1.json"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("digit  INT64 [1]  7", done.stdout)
        self.assertRegex(done.stdout, r"probabilities  FP32 \[1, 10\]\n  7 +[0-9.]+ %  █")

    def test_an_array(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, array in (
                ("floats", digit("3-1")),
                ("bytes", digit("3-1")[0].astype(numpy.uint8)),
                ("doubles", digit("3-1").astype(numpy.float64)),
            ):
                path = str(pathlib.Path(folder) / f"{name}.npy")
                numpy.save(path, array)
                done = self.infer("--model", "digits", "--top", "1", path)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("digit  INT64 [1]  3", done.stdout)

    def test_errors_say_what_to_do(self):
        example = str(ROOT / "Examples/digits/7-1.json")
        nobody = self.infer("--model", "nobody", example)
        self.assertNotEqual(nobody.returncode, 0)
        self.assertIn("There is no model 'nobody'", nobody.stderr)
        missing = self.infer("--model", "digits", "/nowhere/x.json")
        self.assertIn("/nowhere/x.json cannot be read", missing.stderr)
        silent = self.stowage(
            "infer", "--url", "http://127.0.0.1:1", "--model", "digits", example
        )
        self.assertIn("stowage serve", silent.stderr)
        with tempfile.TemporaryDirectory() as folder:
            path = str(pathlib.Path(folder) / "x.npy")
            numpy.save(path, numpy.zeros(4, dtype=numpy.float32))
            several = self.infer("--model", "sum", path)
            self.assertIn("has the inputs 'a', 'b'", several.stderr)

    def test_healthcheck(self):
        self.assertEqual(self.stowage("healthcheck", "--url", self.server.url).returncode, 0)
        self.assertNotEqual(
            self.stowage("healthcheck", "--url", "http://127.0.0.1:1").returncode, 0
        )


if __name__ == "__main__":
    unittest.main()
