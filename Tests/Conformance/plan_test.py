"""`stowage plan` and `stowage profile` with a real model."""

import json
import subprocess
import unittest

from running_server import ROOT, binary

MODEL = sorted((ROOT / "Models").rglob("*.onnx"))[0]
DEVICE = ROOT / "Profiles" / "Devices" / "note-gpu.json"


def stowage(*arguments):
    return subprocess.run(
        [str(binary()), *map(str, arguments)], capture_output=True, text=True, check=False)


class Plan(unittest.TestCase):
    def plan(self, *options):
        done = stowage("plan", "--model", MODEL, "--samples", 4, "--memory", "64MiB", *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_steps_take_every_sample_through_every_layer(self):
        for options in ([], ["--profile", DEVICE]):
            plan = json.loads(self.plan("--format", "json", *options))
            through = [0] * len(plan["layer_names"])
            for step in plan["steps"]:
                through[step["layer"]] += step["samples"]
            self.assertEqual(through, [4] * len(through))
            self.assertGreaterEqual(plan["makespan_ms"], plan["lower_bound_ms"] - 1e-9)

    def test_the_table_names_segments_and_the_bound(self):
        table = self.plan()
        for words in ("segment", "chunk", "paged in MB", "evicted MB", "lower bound"):
            self.assertIn(words, table)

    def test_too_little_memory_is_refused_in_a_sentence(self):
        done = stowage("plan", "--model", MODEL, "--memory", "1kB")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("--memory is too little: layer", done.stderr)
        done = stowage("plan", "--model", MODEL, "--memory", "plenty")
        self.assertIn("is no size", done.stderr)

    def test_a_profile_says_what_each_layer_takes(self):
        for options in ([], ["--counted"]):
            done = stowage("profile", "--model", MODEL, "--samples", 2, *options)
            self.assertEqual(done.returncode, 0, done.stderr)
            profile = json.loads(done.stdout)
            self.assertTrue(profile["layers"] and profile["source"])
            for layer in profile["layers"]:
                self.assertGreaterEqual(layer["gflop"], 0)
                self.assertEqual("cost_ms" in layer, not options)


if __name__ == "__main__":
    unittest.main()
