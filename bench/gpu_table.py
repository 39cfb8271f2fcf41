"""The results of `bench/gpu.py` as text: tables for a terminal and for docs/performance.md."""

from typing import Any


def short(rate: float) -> str:
    return f"{rate / 1e6:.2f} M" if rate >= 1e6 else f"{rate:,.0f}"


def rows_of(found: dict[str, Any]) -> list[str]:
    """A Markdown table: every cell has a line, those that failed or were left out with the reason."""
    lines = [
        "| what | ours, tokens/s | share of peak | useful | GiB | peers, tokens/s | ratio | peers' GiB | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        rate, memory = row.get("rate", {}), row.get("memory", {})
        peers = ", ".join(f"{name} {short(value)}" for name, value in rate.items() if name != "ours")
        ratio = ", ".join(f"{value:.2f} x {name}" for name, value in row.get("ratio", {}).items())
        held = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in memory.items() if name != "ours")
        notes = [f"left out: {row['left_out']}"] if "left_out" in row else []
        notes += [f"{name}: {why}" for kind in ("failed", "missing") for name, why in row.get(kind, {}).items()]
        notes += [] if row.get("equal", True) else ["losses or gradients differ"]
        cells = [
            row["bench"],
            short(rate["ours"]) if "ours" in rate else "",
            f"{row['share_of_peak']:.1%}" if "share_of_peak" in row else "",
            f"{row['share_useful']['ours']:.1%}" if "share_useful" in row else "",
            f"{memory['ours'] / 2**30:.1f}" if "ours" in memory else "",
            peers,
            ratio,
            held,
            "; ".join(notes).replace("|", "/"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def machine_of(found: dict[str, Any]) -> str:
    peak = found.get("peak", {})
    said = [f"{name} {value / 1e12:,.1f}" for name, value in peak.items() if value and name != "copy"]
    published = f"; published bfloat16 {found['published']:,} TFLOP/s" if found.get("published") else ""
    return (
        f"{found['card']}, torch {found['versions'].get('torch')}, transformers {found['versions'].get('transformers')}, {found['date']}; "
        f"products, TFLOP/s: {', '.join(said)}{published}; copy {peak.get('copy', 0) / 1e9:,.0f} GB/s; share of peak by the measured bfloat16 product"
    )


def profiles_of(found: dict[str, Any]) -> list[str]:
    lines = []
    for row in found["rows"]:
        if "profile" not in row:
            continue
        seen = row["profile"]
        lines.append(
            f"{row['bench']} ({seen['of']}): {1e3 * seen['seconds']:.2f} ms an update, kernels run {seen['busy']:.0%} of it, {seen['kernels']:,.0f} of them"
        )
        lines += [
            f"  {kernel['share']:6.1%} {kernel['ms']:9.3f} ms {kernel['calls']:7.1f} x  {kernel['name'][:90]}"
            for kernel in seen["top"]
        ]
    return lines


def tests_of(found: dict[str, Any]) -> list[str]:
    """One line for each test that did not pass, and how many there were."""
    tests = found["tests"]
    count = {kind: sum(t["outcome"] == kind for t in tests["results"]) for kind in ("passed", "failed", "skipped")}
    lines = [f"tests: {count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped or left out"]
    lines += [f"tests left out: {tests['left_out']}"] if tests.get("left_out") else []
    for test in tests["results"]:
        if test["outcome"] != "passed":
            lines.append(f"  {test['outcome']}: {test['test']}: {test['why']} {test['figures'] or ''}".rstrip())
    return lines


def text(found: dict[str, Any]) -> str:
    """The longest part first: where only the end of it is kept, that is the table."""
    lines = [*profiles_of(found), "", machine_of(found), "", *tests_of(found), "", *rows_of(found), ""]
    return "\n".join([*lines, *(f"left out: {name}" for name in found["left_out"])])
