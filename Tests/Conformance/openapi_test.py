"""openapi.yaml says what the server does: every path, method, status, header and body."""

import json
import threading
import unittest

import requests
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from running_server import ROOT, RunningServer

ROW = {"shape": [1, 4], "datatype": "FP32"}
A = {"name": "a", "data": [1, 2, 3, 4], **ROW}
B = {"name": "b", "data": [1, 2, 3, 0], **ROW}
ZEROS = [{"name": name, "data": [0, 0, 0, 0], **ROW} for name in "ab"]


class Description:
    """The parsed document and what it says of one call."""

    def __init__(self):
        self.document = yaml.safe_load((ROOT / "openapi.yaml").read_text())

    def resolve(self, node):
        while "$ref" in node:
            place = self.document
            for key in node["$ref"].removeprefix("#/").split("/"):
                place = place[key]
            node = place
        return node

    def validator(self, schema):
        return Draft202012Validator({**schema, "components": self.document["components"]})

    def calls(self):
        """Every (path, method, status) that is described."""
        for path, item in self.document["paths"].items():
            for method in item.keys() & {"get", "post", "put", "delete", "patch"}:
                for status in item[method]["responses"]:
                    yield path, method, status

    def response(self, path, status):
        item = self.document["paths"][path]
        operation = item.get("get") or item["post"]
        return self.resolve(operation["responses"][status])


class OpenAPI(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.start()
        cls.description = Description()
        cls.seen = set()

    @classmethod
    def start(cls, *arguments):
        server = RunningServer(*arguments).__enter__()
        cls.addClassCleanup(server.__exit__)
        return server

    def test_document_is_valid(self):
        validate(self.description.document)

    def test_examples_fit_their_schemas(self):
        for name, body in self.description.document["components"]["requestBodies"].items():
            for media in body["content"].values():
                if "example" in media:
                    self.description.validator(media["schema"]).validate(media["example"])
        for response in self.description.document["components"]["responses"].values():
            for media in response["content"].values():
                if "example" in media:
                    self.description.validator(media["schema"]).validate(media["example"])
        request = {"$ref": "#/components/schemas/InferenceRequest"}
        for path in sorted((ROOT / "Examples/digits").glob("*.json")):
            with self.subTest(path=path.name):
                self.description.validator(request).validate(json.loads(path.read_text()))

    def ask(self, path, status, method=None, names=None, server=None, **arguments):
        """Makes a call and checks the answer against what is written of it."""
        names = names or {"model": "sum", "version": "1"}
        url = (server or self.server).url + path.format(**names)
        item = self.description.document["paths"][path]
        method = method or ("get" if "get" in item else "post")
        answer = requests.request(method, url, timeout=60, **arguments)
        what = f"{method} {url}: {answer.status_code} {answer.text[:300]}"
        self.assertEqual(answer.status_code, status, what)
        written = self.description.response(path, str(status))
        for name, header in written.get("headers", {}).items():
            header = self.description.resolve(header)
            if header.get("required"):
                self.assertIn(name, answer.headers, what)
        media = answer.headers["Content-Type"].split(";")[0]
        self.assertIn(media, written["content"], what)
        if media == "application/json":
            self.assertEqual(answer.headers["Content-Type"], "application/json", what)
            schema = written["content"][media]["schema"]
            self.description.validator(schema).validate(answer.json())
        self.seen.add((path, "get" if "get" in item else "post", str(status)))
        return answer

    def test_every_answer_is_as_described(self):
        patient = self.start("--queue-limit", "1", "--max-queue-delay", "60000000")
        small = self.start("--memory", "1MiB")
        for path, item in self.description.document["paths"].items():
            with self.subTest(path=path):
                if "post" in item:
                    self.check_inference(path)
                    self.check_full_queue(path, patient)
                    self.check_no_memory(path, small)
                else:
                    self.check_question(path)
        missing = set(self.description.calls()) - self.seen
        # The server is ready by now: no call sees it load.
        self.assertEqual(missing, {("/v2/health/ready", "get", "503")})

    def test_plans_follow_from_the_budget(self):
        """The least budget there is for plans: a request whose plan does not fit is answered 507."""
        small = self.start("--memory", "1MiB")
        path = "/v2/models/{model}/plan"
        double = {"model": "double"}
        plan = self.ask(path, 200, names=double, server=small, params={"samples": 4}).json()
        self.assertFalse(plan["fits"])
        self.assertGreater(plan["needed_bytes"], plan["budget_bytes"])
        self.check_no_memory("/v2/models/{model}/infer", small)
        plan = self.ask(path, 200, params={"samples": 4}).json()
        self.assertTrue(plan["fits"])
        self.assertEqual(sum(segment["layers"] for segment in plan["segments"]), 2)
        for samples in ("0", "x", "1000000"):
            self.ask(path, 400, params={"samples": samples})

    def check_question(self, path):
        self.ask(path, 200)
        head = requests.head(self.server.url + path.format(model="sum", version="1"), timeout=60)
        self.assertEqual((head.status_code, head.content), (200, b""))
        self.ask(path, 405, method="delete")
        if "{model}" in path:
            self.ask(path, 400, names={"model": "%ff", "version": "1"})
            self.ask(path, 404, names={"model": "nobody", "version": "1"})
            self.ask(path, 503, names={"model": "refused", "version": "1"})

    def check_inference(self, path):
        both = {"inputs": [A, B]}
        self.ask(path, 200, json=both)
        self.ask(path, 200, json={**both, "parameters": {"binary_data_output": True}})
        self.ask(path, 400, json={"inputs": [A]})
        self.ask(path, 400, data="{")
        self.ask(path, 404, names={"model": "nobody", "version": "1"}, json=both)
        self.ask(path, 405, method="get")
        self.ask(path, 413, data=b"", headers={"Content-Length": str(1 << 30)})
        self.ask(path, 415, data=b"x", headers={"Content-Encoding": "gzip"})
        self.ask(
            path, 422, names={"model": "quotient", "version": "1"}, json={"inputs": ZEROS}
        )
        self.ask(path, 501, json={**both, "parameters": {"sequence_id": 7}})
        self.ask(path, 503, names={"model": "refused", "version": "1"}, json=both)
        self.ask(path, 504, json={**both, "parameters": {"timeout": 1}})

        beyond = {"name": "index", "shape": [1, 1], "datatype": "INT64", "data": [3]}
        self.ask(path, 500, names={"model": "pick", "version": "1"}, json={"inputs": [beyond]})

    def check_full_queue(self, path, server):
        """The queue takes one request, which waits a minute for others: no room for a second."""
        both = {"inputs": [A, B]}
        first = {**both, "parameters": {"timeout": 1_000_000}}
        waiting = threading.Thread(
            target=self.ask, args=(path, 504), kwargs={"server": server, "json": first}
        )
        waiting.start()
        while server.metric('nv_inference_pending_request_count{model="sum",version="1"}') < 1:
            self.assertTrue(waiting.is_alive(), "The first request did not wait.")
        self.ask(path, 429, server=server, json=both)
        waiting.join()

    def check_no_memory(self, path, server):
        rows = {"name": "a", "shape": [4, 60_000], "datatype": "FP32", "data": [0] * 240_000}
        names = {"model": "double", "version": "1"}
        self.ask(path, 507, names=names, server=server, json={"inputs": [rows]})

    def test_what_is_not_described_is_not_there(self):
        for path in ("/", "/v1", "/v2/models/sum/config", "/v2/repository/index", "/v2/x"):
            answer = requests.get(self.server.url + path, timeout=60)
            self.assertEqual(answer.status_code, 404, path)
            self.description.validator({"$ref": "#/components/schemas/Error"}).validate(
                answer.json()
            )


if __name__ == "__main__":
    unittest.main()
