"""Pictures of what Benchmarks/Memory measures."""

import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

COLOURS = {
    "stowage": "#1f6f8b", "stowage-demand": "#99c1cf", "stowage-dynamic": "#5b8fa8",
    "ort-held": "#c05640", "ort-mapped": "#d98e73", "ort-swap": "#8a6d9f",
    "ort-swap-mapped": "#b7a3c7",
}


def rates(cells, path):
    """Requests per second by limit, a bar a system, with the spread over repetitions."""
    kinds = sorted({cell["stream"] for cell in cells})
    limits = sorted({cell["percent"] for cell in cells}, reverse=True)
    systems = [name for name in COLOURS if any(cell["system"] == name for cell in cells)]
    figure, axes = plt.subplots(1, len(kinds), figsize=(6.5 * len(kinds), 3.8), squeeze=False)
    width = 0.85 / len(systems)
    for axis, kind in zip(axes[0], kinds):
        for place, system in enumerate(systems):
            for column, percent in enumerate(limits):
                same = [
                    c for c in cells
                    if (c["system"], c["stream"], c["percent"]) == (system, kind, percent)
                ]
                if not same:
                    continue
                x = column + (place - (len(systems) - 1) / 2) * width
                found = [c["rate"] for c in same if c.get("rate")]
                if any(c["killed"] for c in same) or not found:
                    axis.text(x, 0.05, "×", ha="center", color=COLOURS[system], fontsize=9)
                    continue
                middle = statistics.median(found)
                axis.bar(x, middle, width, color=COLOURS[system],
                         label=system if column == 0 else None)
                axis.vlines(x, min(found), max(found), color="#333", linewidth=1)
        axis.set_xticks(range(len(limits)), [f"{percent} %" for percent in limits])
        axis.set_title(kind, fontsize=10)
        axis.set_xlabel("memory limit, of 1,163 MiB (× killed by the kernel)")
        axis.set_ylabel("requests/s")
        axis.spines[["top", "right"]].set_visible(False)
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[name]) for name in systems]
    axes[0][-1].legend(handles, systems, fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def memory(cells, path):
    """Resident memory of the server over time under each limit, with the limit as a line."""
    limits = sorted({c["percent"] for c in cells if c["system"] == "stowage"}, reverse=True)
    if not limits:
        return
    figure, axis = plt.subplots(figsize=(7, 3.8))
    shades = plt.get_cmap("viridis")
    for place, percent in enumerate(limits):
        colour = shades(0.85 * place / max(len(limits) - 1, 1))
        cell = next(c for c in cells if c["system"] == "stowage" and c["percent"] == percent)
        seconds = [point[0] for point in cell["memory"]]
        axis.plot(seconds, [point[2] / 2**20 for point in cell["memory"]], color=colour,
                  label=f"{percent} %")
        axis.axhline(cell["limit_bytes"] / 2**20, color=colour, linewidth=0.8, linestyle=":")
    axis.set_xlabel("seconds since the start")
    axis.set_ylabel("MiB of the process and its files' pages")
    axis.set_ylim(bottom=0)
    axis.legend(title="limit (dotted)", fontsize=8, frameon=False, ncols=2)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
