#!/usr/bin/env python3
"""How far from the lower bound: 32 requests at once in half of the memory that the weights take.

    python3 Benchmarks/Memory/bound.py --stowage PATH --models FOLDER --work FOLDER
        [--sittings 3] [--bursts 3]

Measured and bound alternate: before and after each burst the networks run without a server
(`stowage bench`, all weights resident), and the mean of the two is what computing takes at that
time; a machine that is slow for a minute is slow for both. The bound is the larger of two, either
with what cannot overlap: computing, at the fastest time per sample over some batches, after the
first page-in; and the link, all weights that are not resident when the requests come at the rate of
planned page-ins. A burst to get warm goes before those that count; more sittings are added to
Benchmarks/Results/bound.json. FOLDER of --models comes from Benchmarks/Networks/randomize.py.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

import burst

RESULTS = pathlib.Path(__file__).resolve().parent.parent / "Results"
UNITS = 2
FIRST_PAGE_IN = 64 << 10  # bytes: no run begins before one page is there


class Bench:
    """`stowage bench` of a network: times of batches without a server."""

    def __init__(self, arguments, name, batches):
        command = [arguments.stowage, "bench", str(arguments.models / f"{name}.onnx")]
        self.process = subprocess.Popen(
            command + ["--units", str(UNITS), "--max-batch", str(batches[-1])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.folder, self.batches = arguments.work, batches
        self.process.stdout.readline()

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if answer[0] != "ok":
            raise RuntimeError(" ".join(answer))
        return int(answer[1]) / 1e9

    def times(self):
        """Seconds of each batch, after one run that does not count: it touches memory anew."""
        found = {}
        for batch in self.batches:
            image = self.folder / "images"
            rng = burst.np.random.default_rng(batch)
            rng.random((batch, 3, 224, 224), burst.np.float32).tofile(image)
            self.tell(f"run {batch} {image} {self.folder / 'output'}")
            found[batch] = self.tell(f"time {batch}")
        return found

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def weights(arguments):
    """Bytes of the packed weights of each network."""
    files = burst.profile(arguments.stowage, arguments.models, UNITS, 8, arguments.work)
    found = {}
    for name, path in files.items():
        layers = json.loads(pathlib.Path(path).read_text())["layers"]
        found[name] = sum(layer["weights_mb"] for layer in layers) * 1e6
    return found


def bound(counts, before, after, sizes, one):
    """Seconds that no plan can undercut, from computing and from the link."""
    least = {
        name: min((before[name][batch] + after[name][batch]) / 2 / batch for batch in before[name])
        for name in counts}
    compute = sum(counts[name] * least[name] for name in counts)
    rate = one["page_in_bytes"] / one["page_in_seconds"] if one["page_in_bytes"] else 0
    missing = max(sum(sizes.values()) - one["resident"], 0)
    link = missing / rate if rate else 0
    first = FIRST_PAGE_IN / rate if rate and missing else 0
    return {"compute": compute + first, "link": link, "bound": max(compute + first, link),
            "rate": rate, "missing": missing}


def run(arguments, title, counts, batches):
    """Bursts after one to get warm, each with its bound."""
    sizes = {name: size for name, size in weights(arguments).items() if name in counts}
    folder = arguments.work / "-".join(counts)
    folder.mkdir(exist_ok=True)
    for name in counts:
        link = folder / f"{name}.onnx"
        if not link.exists():
            link.symlink_to((arguments.models / f"{name}.onnx").resolve())
    budget = int(sum(sizes.values()) / 2)
    benches = {name: Bench(arguments, name, batches) for name in counts}
    times = []
    found = burst.measure(
        arguments.stowage, (folder, arguments.work / "cache"), counts, UNITS, budget, [],
        bursts=arguments.bursts,
        between=lambda: times.append({name: one.times() for name, one in benches.items()}))
    for one in benches.values():
        one.close()
    rows = []
    for number, one in enumerate(found):
        limits = bound(counts, times[number], times[number + 1], sizes, one)
        rows.append({
            "measured": one["makespan"], "mean": one["mean"], **limits,
            "ratio": one["makespan"] / limits["bound"], "paged": one["page_in_bytes"],
            "stall": one["stall"], "run": one["run"], "run_predicted": one["run_predicted"],
            "plans": one["plans_bytes"], "times": times[number:number + 2]})
        print(title, json.dumps({key: round(value, 3) for key, value in rows[-1].items()
                                 if isinstance(value, float)}), flush=True)
    return {"title": title, "budget": budget, "weights": sum(sizes.values()), "rows": rows}


def table(results):
    lines = [
        "| requests | memory MiB | weights MiB | measured s (spread) | computing s | link s "
        "| bound s | measured / bound (spread) | paged in MB | stalled s |", "|" + "---|" * 10,
    ]
    for result in results:
        rows = result["rows"]

        def middle(key):
            return statistics.median(row[key] for row in rows)

        def spread(key):
            return f"({min(row[key] for row in rows):.2f}-{max(row[key] for row in rows):.2f})"

        lines.append(
            f"| {result['title']} | {result['budget'] / 2**20:.0f} "
            f"| {result['weights'] / 2**20:.0f} | {middle('measured'):.2f} {spread('measured')} "
            f"| {middle('compute'):.2f} | {middle('link'):.2f} | {middle('bound'):.2f} "
            f"| **{middle('ratio'):.2f}** {spread('ratio')} | {middle('paged') / 1e6:,.0f} "
            f"| {middle('stall'):.2f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stowage", required=True)
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--sittings", type=int, default=3)
    parser.add_argument("--bursts", type=int, default=3, help="bursts that count, a sitting")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    cases = {
        "vgg": ("VGG-19, 32 requests", {"vgg19": 32}, [4, 8, 32]),
        "mix": ("four networks, 8 requests each", {name: 8 for name in burst.MODELS}, [1, 4, 8]),
    }
    path = RESULTS / "bound.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for _ in range(arguments.sittings):
        for case, (title, counts, batches) in cases.items():
            found = run(arguments, title, counts, batches)
            found["rows"] = results.get(case, {"rows": []})["rows"] + found["rows"]
            results[case] = found
        path.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results.values()))


if __name__ == "__main__":
    main()
