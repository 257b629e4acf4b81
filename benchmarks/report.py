"""The results as a table, as JSON and as the page `benchmarks/results.md`."""

import json
from statistics import median

from tabulate import tabulate

from benchmarks.result import Result

HEADERS = ("case", "unit", "queuectl", "min … max", "yardstick", "its median", "min … max", "ratio", "target", "")


def table(results: list[Result], style: str = "simple") -> str:
    """One line a result: medians, the spread, and the ratio of ours to the yardstick's."""
    rows = [_row(result) for result in results]
    align = ("left", "left", "right", "right", "left", "right", "right", "right", "right", "left")
    return tabulate(rows, HEADERS, tablefmt=style, colalign=align, disable_numparse=True)


def _row(result: Result) -> tuple[str, ...]:
    ratio, met = result.ratio, result.met
    return (
        result.case,
        result.unit,
        _number(median(result.ours)),
        _spread(result.ours),
        result.yardstick,
        _number(median(result.theirs)) if result.theirs else "",
        _spread(result.theirs),
        "" if ratio is None else f"{ratio:.2f}",
        str(result.target or ""),
        "" if met is None else "met" if met else "MISSED",
    )


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _spread(samples: list[float]) -> str:
    return f"{_number(min(samples))} … {_number(max(samples))}" if len(samples) > 1 else ""


def as_json(facts: dict[str, str], found: dict[str, list[Result]], notes: list[str]) -> str:
    """Everything, with every sample."""
    benchmarks = {name: [_plain(result) for result in results] for name, results in found.items()}
    return json.dumps({"machine": facts, "benchmarks": benchmarks, "notes": notes}, indent=1, ensure_ascii=False) + "\n"


def _plain(result: Result) -> dict[str, object]:
    return {
        "case": result.case,
        "unit": result.unit,
        "queuectl": result.ours,
        "yardstick": result.yardstick or None,
        "yardstick_samples": result.theirs,
        "ratio": result.ratio,
        "target": str(result.target) if result.target else None,
        "met": result.met,
    }


def as_markdown(facts: dict[str, str], found: dict[str, list[Result]], about: dict[str, str], notes: list[str]) -> str:
    """The results page."""
    parts = [
        "# Benchmark results",
        "Made by `python -m benchmarks --markdown benchmarks/results.md`; how: [README](README.md).\n"
        "Medians over the rounds, yardstick and queuectl in turn. The ratio is queuectl divided by the yardstick.",
        tabulate(facts.items(), ("machine", ""), tablefmt="github", disable_numparse=True),
    ]
    for name, results in found.items():
        parts += [f"## {name}", about[name], table(results, "github")]
    if notes:
        parts += ["## Notes", "\n".join(f"- {line}" for line in notes)]
    return "\n\n".join(parts) + "\n"
