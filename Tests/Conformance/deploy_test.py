"""What deploy/ and Dockerfile promise, checked without a container engine."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]


class SystemdUnit(unittest.TestCase):
    def test_unit_is_accepted(self):
        if shutil.which("systemd-analyze") is None:
            self.fail("systemd-analyze is missing: install the Debian package systemd.")
        unit = (ROOT / "deploy/systemd/stowage.service").read_text()
        with tempfile.TemporaryDirectory() as folder:
            # The binary is not installed where the unit expects it: any program stands in.
            path = pathlib.Path(folder) / "stowage.service"
            path.write_text(unit.replace("/usr/local/bin/stowage", shutil.which("true")))
            done = subprocess.run(
                ["systemd-analyze", "verify", str(path)], capture_output=True, text=True
            )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")

    def test_unit_is_hardened(self):
        unit = (ROOT / "deploy/systemd/stowage.service").read_text()
        for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "DynamicUser=yes"):
            self.assertIn(line, unit)


class Compose(unittest.TestCase):
    def setUp(self):
        folder = ROOT / "deploy/compose"
        self.services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
        self.prometheus = yaml.safe_load((folder / "prometheus.yml").read_text())

    def test_prometheus_scrapes_the_server_of_the_same_file(self):
        job = self.prometheus["scrape_configs"][0]
        host, port = job["static_configs"][0]["targets"][0].split(":")
        self.assertIn(host, self.services)
        published = self.services[host]["ports"][0].rsplit(":", 1)[1]
        self.assertEqual(port, published)
        self.assertEqual(job["metrics_path"], "/metrics")

    def test_build_context_and_files_exist(self):
        context = ROOT / "deploy/compose" / self.services["stowage"]["build"]["context"]
        self.assertTrue((context / "Dockerfile").is_file())
        for service in self.services.values():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                if source.startswith("."):
                    self.assertTrue((ROOT / "deploy/compose" / source).exists(), source)

    def test_the_server_has_no_privileges(self):
        server = self.services["stowage"]
        self.assertEqual(server["cap_drop"], ["ALL"])
        self.assertTrue(server["read_only"])


class Dockerfile(unittest.TestCase):
    def test_image_is_small_unprivileged_and_watched(self):
        text = (ROOT / "Dockerfile").read_text()
        self.assertEqual(len(re.findall(r"^FROM ", text, re.M)), 2)
        user = re.search(r"^USER (\S+)", text, re.M)
        self.assertIsNotNone(user)
        self.assertNotIn(user[1], ("0", "root"))
        self.assertRegex(text, r"HEALTHCHECK [^\n]*\\\n +CMD \[\"/usr/local/bin/stowage\"")
        self.assertRegex(text, r"(?m)^STOPSIGNAL SIGTERM$")

    def test_libraries_are_those_that_the_script_installs(self):
        wanted = set(re.findall(r"\blib[a-z0-9-]+-dev\b", (ROOT / "Scripts/packages").read_text()))
        self.assertLessEqual({"libdnnl-dev", "libsimdjson-dev"}, wanted)
        built = set(re.findall(r"\b(?:lib[a-z0-9-]+|zlib1g)-dev\b", (ROOT / "Dockerfile").read_text()))
        self.assertEqual(wanted | {"zlib1g-dev"}, built | {"zlib1g-dev"})


if __name__ == "__main__":
    unittest.main()
