"""Tables of what the probe found, in Markdown.

    python3 report.py gpu-probe.json gpu-shares.json
"""

import json
import sys

BATCHES = (1, 2, 4, 8, 16, 32, 64)


def table(columns, rows):
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(short(value) for value in row) + " |")
    print()


def short(value):
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "" if value is None else str(value)


def mib(bytes):
    return f"{bytes >> 10} KiB" if bytes < 1 << 20 else f"{bytes >> 20} MiB"


def device(result):
    for key, value in result.items():
        print(f"- {key}: {value}")
    print()


def partitions(result):
    rows = result["contexts"]
    table(["context", "groups", "says", "ran on", "create µs", "MiB"],
          [[r["kind"], r["groups"], r["said"], r["ran_on"], r["create_us"], r["bytes"] / 2**20]
           for r in rows])
    print({key: value for key, value in result.items() if key != "contexts"}, "\n")


def cudnn(result):
    table(["layer", "runs in", "plan made", "µs", "blocks", "first run µs", "refused"],
          [[r["layer"], r["place"], r["made"], r.get("us"), r.get("grids"), r.get("first_us"),
            r["refused"]] for r in result["plans"]])
    table(["layer", "SM", "own µs", "cuDNN µs", "deviceless µs", "equal bits"],
          [[r["layer"], r["sm"], r.get("own_us"), r.get("cudnn_us"), r.get("deviceless_us"),
            all(r.get(k + "_equal") for k in ("own", "cudnn", "deviceless"))]
           for r in sorted(result["rows"], key=lambda r: (r["layer"], r["sm"]))])


def graphs(result):
    print(json.dumps(result, indent=1, ensure_ascii=False), "\n")


def transfers(result):
    pairs = {}
    for row in result["rows"]:
        pairs.setdefault(row["bytes"], {})[row["direction"]] = row
    table(["bytes", "to device GB/s", "while computing", "one copy µs", "to host GB/s",
           "while computing", "one copy µs"],
          [[mib(bytes)] + [row[d][k] for d in ("h2d", "d2h")
                           for k in ("gb_per_s", "busy_gb_per_s", "one_us")]
           for bytes, row in pairs.items()])
    table(["SM", "memory GB/s", "cache GB/s"],
          [[r["sm"], r["memory_gb_per_s"], r["cache_gb_per_s"]] for r in result["memory_by_share"]])
    print({k: v for k, v in result.items() if k not in ("rows", "memory_by_share")}, "\n")


def paging(result):
    modes = {}
    for row in result["rows"]:
        modes.setdefault(row["mode"], {})[row["batch"]] = row
    table(["way", "MB copied", "b1 ms", "b8 ms", "b64 ms", "alone b1", "b8", "b64", "equal"],
          [[mode, next(iter(rows.values()))["copied_mb"]]
           + [milliseconds(rows.get(b), "us") for b in (1, 8, 64)]
           + [milliseconds(rows.get(b), "alone_us") for b in (1, 8, 64)]
           + [all(r["equal"] for r in rows.values())] for mode, rows in modes.items()])


def milliseconds(row, key):
    return row[key] / 1e3 if row and key in row else None


def convolutions(result):
    rows = {}
    for row in result["rows"]:
        rows.setdefault((row["network"], row["layer"]), {})[row["batch"]] = row
    table(["network", "layer", "own b1 µs", "cuDNN", "own b64 µs", "cuDNN", "own TFLOP/s", "cuDNN",
           "own kernel b64", "errors ×1e-4 (own, cuDNN)"],
          [[network, layer, a["own_us"], a["cudnn_best_us"], b["own_us"], b["cudnn_best_us"],
            b["gflop"] / b["own_us"] * 1e3, b["gflop"] / b["cudnn_best_us"] * 1e3,
            b["own_kernel"][5:], f"{b['own_error'] * 1e4:.2f}, {b['cudnn_error'] * 1e4:.2f}"]
           for (network, layer), found in rows.items() for a, b in [(found[1], found[64])]])


def shares(result):
    for network in ("resnet50", "vgg19"):
        for kind in ("own", "cudnn"):
            print(f"{network}, {kind}, ms:\n")
            places = {}
            for row in result["stacks"]:
                if row["network"] == network:
                    places.setdefault((row["place"], row["sm"]), {})[row["batch"]] = row
            table(["SM"] + [f"b{b}" for b in BATCHES],
                  [[f"{sm}" + (", primary" if place == "primary" else "")]
                   + [milliseconds(found.get(b), kind + "_us") for b in BATCHES]
                   for (place, sm), found in places.items()])
    if isinstance(result["together"], str):
        return print(result["together"])
    table(["kernels", "SM", "second network", "ResNet-50 b8 slower", "VGG-19 b16 slower"],
          [[r["kernels"], "{} + {}".format(*r["sm"]), r["second"], r["resnet50_b8"]["slower"],
            r["vgg19_b16"]["slower"]] for r in result["together"]])


def show(results):
    for name, result in results.items():
        print(f"## {name}: {result['seconds']} s, failed: {result['failed']}\n")
        try:
            globals()[name]({k: v for k, v in result.items() if k not in ("seconds", "failed")})
        except (KeyError, IndexError, TypeError, ZeroDivisionError) as error:
            print(f"incomplete: {error!r}\n")


if __name__ == "__main__":
    found = {}
    for path in sys.argv[1:]:
        with open(path) as file:
            part = json.load(file)
        found |= {"shares": part} if "stacks" in part else part
    show(found)
