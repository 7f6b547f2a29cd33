#!/usr/bin/env python3
"""Serves trained models from PyPI wheels and compares every answer with onnxruntime's.

    pip install numpy onnxruntime 'tritonclient[http]'
    Benchmarks/Models/models.py --binary .build/release/stowage --work /tmp/models

Wheels are downloaded into the work folder, nothing of them is kept elsewhere. Each model is asked
over HTTP at several batch sizes with seeded random inputs; the error is the largest difference
relative to the largest element of an output. Writes Benchmarks/Results/models.md.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import zipfile

import numpy
import onnxruntime
import tritonclient.http as http

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "Benchmarks" / "Results" / "models.md"
BATCHES, BOUND = (1, 3, 8), 1e-3

# Wheel, licence of the wheel, model inside, what it does, inputs by batch.
WHEELS = {
    "rapidocr-onnxruntime==1.4.4": "Apache-2.0",
    "silero-vad==6.2.3": "MIT",
    "magika==1.0.3": "Apache-2.0",
    "ddddocr==1.6.1": "MIT",
    "nudenet==3.4.2": "MIT",
}


def picture(random, *shape):
    return random.random(shape, dtype=numpy.float32)


def page(random, batch, height=96, width=160):
    """White pages with a line of dark block letters, of which a text detector finds some."""
    letters = {"E": "1111 1... 111. 1... 1111", "H": "1..1 1..1 1111 1..1 1..1",
               "L": "1... 1... 1... 1... 1111", "T": "1111 .1.. .1.. .1.. .1.."}
    pages = numpy.full((batch, 3, height, width), 2.3, numpy.float32)
    for sheet in pages:
        for place in range(7):
            rows = letters[random.choice(list(letters))].split()
            shape = numpy.array([[dot == "1" for dot in row] for row in rows])
            shape = numpy.kron(shape, numpy.ones((5, 4), bool))
            top, left = 35 + int(random.integers(3)), 8 + 20 * place
            sheet[:, top:top + 25, left:left + 16][:, shape] = -2.0
    return pages + 0.02 * random.standard_normal(pages.shape, dtype=numpy.float32)


def sound(random, batch):
    return {
        "input": 0.1 * random.standard_normal((batch, 576), dtype=numpy.float32),
        "state": 0.1 * random.standard_normal((2, batch, 128), dtype=numpy.float32),
    }


def rate(tensors):
    return tensors | {"sr": numpy.array(16000, numpy.int64)}


MODELS = {
    "ch_PP-OCRv4_det_infer": (
        "rapidocr-onnxruntime", "finds text", lambda r, n: {"x": page(r, n)}),
    "ch_PP-OCRv4_rec_infer": (
        "rapidocr-onnxruntime", "reads text",
        lambda r, n: {"x": 2 * picture(r, n, 3, 48, 160) - 1}),
    "ch_ppocr_mobile_v2.0_cls_infer": (
        "rapidocr-onnxruntime", "tells upside down",
        lambda r, n: {"x": 2 * picture(r, n, 3, 48, 192) - 1}),
    "silero_vad": ("silero-vad", "hears voices", lambda r, n: rate(sound(r, n))),
    "silero_vad_half": ("silero-vad", "hears voices, FP16 weights", sound),
    "silero_vad_op18_ifless": (
        "silero-vad", "hears voices, opset 18", lambda r, n: rate(sound(r, n))),
    "silero_vad_16k_op15": (
        "silero-vad", "hears voices, opset 15", lambda r, n: rate(sound(r, n))),
    "model": (
        "magika", "tells file types",
        lambda r, n: {"bytes": r.integers(0, 256, (n, 2048)).astype(numpy.int32)}),
    "common": (
        "ddddocr", "reads captchas",
        lambda r, n: {"input1": picture(r, 1, 1, 64, 120)} if n == 1 else None),
    "common_det": (
        "ddddocr", "finds captchas",
        lambda r, n: {"images": 255 * picture(r, n, 3, 416, 416)} if n == 1 else None),
    "320n": ("nudenet", "detects (YOLOv8n)", lambda r, n: {"images": picture(r, n, 3, 320, 320)}),
}


def fetch(work):
    """Downloads the wheels and lays out one folder of models."""
    models = work / "models"
    shutil.rmtree(models, ignore_errors=True)
    models.mkdir(parents=True)
    for wheel in WHEELS:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run(command + ["--dest", str(work), wheel], check=True)
    for path in work.glob("*.whl"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if pathlib.Path(name).stem in MODELS and name.endswith(".onnx"):
                    (models / pathlib.Path(name).name).write_bytes(archive.read(name))
    return models


def serve(binary, models):
    """Starts the server; returns it and its address once every model is settled."""
    command = [binary, "serve", "--models", models, "--port", "0", "--quiet"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in server.stdout:
        if "http://" in line:
            return server, line.split("http://")[1].split()[0].rstrip("/.,")
    raise SystemExit("The server ended before it was ready.")


def ask(client, name, tensors):
    inputs = []
    for key, value in tensors.items():
        kind = {"float32": "FP32", "int32": "INT32", "int64": "INT64"}[value.dtype.name]
        inputs.append(http.InferInput(key, list(value.shape), kind))
        inputs[-1].set_data_from_numpy(value)
    return client.infer(name, inputs)


def error(client, session, name, tensors):
    """The largest relative difference over all outputs, or what went wrong."""
    wanted = session.run(None, tensors)
    try:
        answer = ask(client, name, tensors)
    except Exception as failure:
        return str(failure)
    worst = 0.0
    for output, right in zip(session.get_outputs(), wanted):
        found = answer.as_numpy(output.name)
        if found.shape != right.shape:
            return f"{output.name} has shape {list(found.shape)} instead of {list(right.shape)}"
        difference = numpy.abs(found.astype(float) - right.astype(float)).max(initial=0)
        worst = max(worst, difference / max(numpy.abs(right.astype(float)).max(initial=0), 1e-9))
    return float(worst)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(ROOT / ".build" / "release" / "stowage"))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("models-work"))
    options = parser.parse_args()
    models = fetch(options.work)
    server, address = serve(options.binary, str(models))
    lines, failed = [], False
    try:
        client = http.InferenceServerClient(address)
        quiet = onnxruntime.SessionOptions()
        quiet.log_severity_level = 4
        for name, (wheel, task, make) in MODELS.items():
            session = onnxruntime.InferenceSession(str(models / f"{name}.onnx"), quiet)
            cells = []
            for batch in BATCHES:
                tensors = make(numpy.random.default_rng(batch), batch)
                found = error(client, session, name, tensors) if tensors else "–"
                isWrong = found != "–" and not (isinstance(found, float) and found <= BOUND)
                failed |= isWrong
                cells.append(f"{found:.1e}" if isinstance(found, float) else found)
            licence = next(l for key, l in WHEELS.items() if key.startswith(wheel + "="))
            lines.append(f"| `{name}` | {task} | {wheel} | {licence} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    finally:
        server.terminate()
        server.wait()
    head = [
        "# Trained models against onnxruntime",
        "",
        f"Written by `Benchmarks/Models/models.py`, onnxruntime {onnxruntime.__version__}.",
        "Models come from PyPI wheels and are asked over HTTP with seeded random inputs. A cell is the largest",
        "difference of any output relative to that output's largest element; – where the file",
        f"fixes the batch at 1. The bound is {BOUND:.0e}.",
        "",
        "| model | what it does | wheel | licence | "
        + " | ".join(f"batch {batch}" for batch in BATCHES) + " |",
        "|---|---|---|---|" + "---:|" * len(BATCHES),
    ]
    PAGE.write_text("\n".join(head + lines) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
