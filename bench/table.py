"""From bench/results/*.json: the tables in README.md and docs/performance.md, and whether a ratio fell.

python bench/table.py            writes the tables
python bench/table.py --check    exit 1 where a ratio is more than 15 % below bench/baseline.json
python bench/table.py --keep     makes the present ratios the baseline
"""

import argparse
import json
import sys
from pathlib import Path

from gpu_table import machine_of, rows_of

HERE = Path(__file__).parent
BASELINE = HERE / "baseline.json"
PAGES = HERE.parent / "README.md", HERE.parent / "docs" / "performance.md"
BEGIN, END = "<!-- bench: written by bench/table.py -->", "<!-- bench: end -->"
GPU_PAGE = HERE.parent / "docs" / "performance.md"
GPU_BEGIN, GPU_END = "<!-- gpu: written by bench/table.py -->", "<!-- gpu: end -->"
FALL = 0.15
NAMED = ("step", "embed", "memory", "data", "prepare")


def results() -> list[dict]:
    return [json.loads(path.read_text()) for name in NAMED for path in sorted((HERE / "results").glob(f"{name}*.json"))]


def ratios() -> dict[str, dict[str, float]]:
    return {row["bench"]: row["ratio"] for found in results() for row in found["rows"] if row["ratio"]}


def table() -> str:
    lines = ["| what | ours | peers | ratio | share of peak |", "|---|---|---|---|---|"]
    for found in results():
        for row in found["rows"]:
            peers = ", ".join(f"{name} {_short(rate)}" for name, rate in row["rate"].items() if name != "ours")
            ratio = ", ".join(f"{value:.1f} x {name}" for name, value in row["ratio"].items())
            share = f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else ""
            ours = f"{_short(row['rate']['ours'])} {row['unit']}"
            lines.append(f"| {row['bench']} | {ours} | {peers} | {ratio} | {share} |")
    return "\n".join([*lines, "", f"Measured on {_machines(results())}."])


def _machines(found: list[dict]) -> str:
    """What the results have in common, and between what and what they differ."""
    same = {f"{r['cpu']}, {r['threads']} threads, torch {r['versions']['torch']}, {r['date']}" for r in found}
    peaks, loads = sorted(r["peak"]["bfloat16"] for r in found), sorted(r["load"] for r in found)
    peak = f"bfloat16 products of {peaks[0]:,.0f} to {peaks[-1]:,.0f} GFLOP/s"
    return f"{'; '.join(sorted(same))}; {peak}; load at the start {loads[0]:.1f} to {loads[-1]:.1f}"


def _short(rate: float) -> str:
    if rate >= 1e6:
        return f"{rate / 1e6:.1f} M"
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.2f}"


def gpus() -> str:
    """The newest results of each card."""
    newest: dict[str, dict] = {}
    for path in sorted((HERE / "results").glob("gpu-*.json")):
        found = json.loads(path.read_text())
        newest[found["card"]] = max(newest.get(found["card"], found), found, key=lambda each: each["date"])
    if not newest:
        return "No card has run it yet: the table comes with the first."
    return "\n\n".join("\n".join([*rows_of(found), "", f"{machine_of(found)}."]) for found in newest.values())


def write() -> None:
    for page in PAGES:
        _between(page, BEGIN, END, table())
    _between(GPU_PAGE, GPU_BEGIN, GPU_END, gpus())


def _between(page: Path, begin: str, end: str, new: str) -> None:
    text = page.read_text(encoding="utf-8")
    if begin not in text:
        sys.exit(f"{page}: has no line {begin}")
    before, _, rest = text.partition(begin)
    page.write_text(f"{before}{begin}\n{new}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def fallen() -> list[str]:
    now, before = ratios(), json.loads(BASELINE.read_text())
    return [
        f"{bench}: {now[bench][peer]:.2f} x {peer}, was {old:.2f}"
        for bench, peers in before.items()
        for peer, old in peers.items()
        if bench in now and peer in now[bench] and now[bench][peer] < (1 - FALL) * old
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--keep", action="store_true")
    given = arguments.parse_args()
    if given.check:
        found = fallen()
        print("\n".join(found) or "no ratio fell by more than 15 %")
        sys.exit(bool(found))
    if given.keep:
        BASELINE.write_text(json.dumps(ratios(), indent=1) + "\n")
    write()


if __name__ == "__main__":
    main()
