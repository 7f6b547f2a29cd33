"""openapi.yaml says what the server does: every path, method, status, header and body."""

import json
import re
import unittest

import requests
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from running_server import ROOT, RunningServer

# Statuses that need a broken engine, a full queue or no memory: the suites of API test them.
NOT_PROVOKED = {"429", "500", "507"}

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
        cls.server = RunningServer().__enter__()
        cls.addClassCleanup(cls.server.__exit__)
        cls.description = Description()
        cls.seen = set()

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

    def ask(self, path, status, method=None, names=None, **arguments):
        """Makes a call and checks the answer against what is written of it."""
        names = names or {"model": "sum", "version": "1"}
        url = self.server.url + re.sub(r"\{(\w+)\}", lambda found: names[found[1]], path)
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
        for path, item in self.description.document["paths"].items():
            with self.subTest(path=path):
                if "post" in item:
                    self.check_inference(path)
                else:
                    self.check_question(path)
        missing = set(self.description.calls()) - self.seen
        unexpected = {call for call in missing if call[2] not in NOT_PROVOKED}
        # The server is ready by now: no call sees it load.
        unexpected.discard(("/v2/health/ready", "get", "503"))
        self.assertEqual(unexpected, set())

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

    def test_what_is_not_described_is_not_there(self):
        for path in ("/", "/v1", "/v2/models/sum/config", "/v2/repository/index", "/v2/x"):
            answer = requests.get(self.server.url + path, timeout=60)
            self.assertEqual(answer.status_code, 404, path)
            self.description.validator({"$ref": "#/components/schemas/Error"}).validate(
                answer.json()
            )


if __name__ == "__main__":
    unittest.main()
