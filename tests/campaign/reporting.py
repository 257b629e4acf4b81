"""The output of a campaign, its row in docs/reliability.md, and the seeds that failed."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.campaign.plan import Campaign
from tests.campaign.running import Figures

__all__ = ["FAILED", "altered", "failed_seeds", "head", "keep_failed", "text", "write_row"]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
FAILED = ROOT / "tests" / "data" / "failed_seeds.json"


def text(chosen: Campaign, figures: Figures, controls: Sequence[str]) -> str:
    """The figures for a reader."""
    lines = [
        f"{chosen.name}: {figures.tries:,} {chosen.unit} from {figures.seeds:,} seeds (from {figures.seed} on)"
        f" in {figures.seconds:,.0f} s, {figures.faults.total():,} faults"
    ]
    lines += [f"  {number:,} {what}" for what, number in figures.counted.items()]
    lines += [f"  {figures.met[each]:,} at {each}" for each in chosen.to_meet]
    lines += [f"  {number:,} × {fault} [{_whose(figures, fault)}]" for fault, number in figures.faults.most_common()]
    return "\n".join([*lines, *(f"  control: {control}" for control in controls)])


def _whose(figures: Figures, fault: str) -> str:
    return f"seed {figures.first[fault]}" if fault in figures.first else "of the whole run"


def write_row(chosen: Campaign, figures: Figures, controls: Sequence[str], commit: str) -> None:
    """Replace the campaign's row by these figures. `commit` is the tested commit."""
    counted = "".join(f"; {number:,} {what}" for what, number in figures.counted.items()) + _met(chosen, figures)
    cells = [
        f"`{chosen.name}`",
        f"{figures.tries:,} {chosen.unit}{counted}",
        f"{figures.faults.total():,}",
        _summed(controls),
        f"{figures.seed} to {figures.seed + figures.seeds - 1}",
        f"{figures.seconds / 60:,.1f} min",
        f"`{commit}`",
    ]
    row = f"| {' | '.join(cells)} |"
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    begins = f"| `{chosen.name}` |"
    at = next(number for number, line in enumerate(lines) if line.startswith(begins))
    lines[at] = row
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _met(chosen: Campaign, figures: Figures) -> str:
    times = [figures.met[each] for each in chosen.to_meet]
    return (
        f"; {len(times) - times.count(0)} of {len(times)} points met, the rarest {min(times):,} times" if times else ""
    )


def _summed(controls: Sequence[str]) -> str:
    """A few in full, many as a number."""
    if len(controls) <= 3:
        return "; ".join(controls) or "–"
    return f"{sum('NOT NOTICED' not in each for each in controls)} of {len(controls)} seeded bugs noticed"


def head() -> str:
    """The current commit, if nothing was altered since."""
    return _git("rev-parse", "--short", "HEAD")[0]


def altered(commit: str) -> list[str]:
    """The files of the program and the tests that are not as that commit has them.

    Failed seeds are kept in one of them, by the campaigns themselves, and change no figure.
    """
    code = ("--", "queuectl", "tests", f":!{FAILED.relative_to(ROOT)}")
    return [
        *_git("diff", "--name-only", commit, *code),
        *_git("ls-files", "--others", "--exclude-standard", *code),
    ]


def _git(*arguments: str) -> list[str]:
    asked = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()


def failed_seeds() -> dict[str, dict[str, str]]:
    """Campaign -> seed -> what was wrong when it failed first."""
    found: dict[str, dict[str, str]] = json.loads(FAILED.read_text(encoding="utf-8"))
    return found


def keep_failed(chosen: Campaign, figures: Figures) -> None:
    """Record every seed that failed; the tests try these seeds again in each run."""
    failed = failed_seeds()
    for fault, seed in figures.first.items():
        failed.setdefault(chosen.name, {}).setdefault(str(seed), fault)
    FAILED.write_text(json.dumps(failed, indent=2, sort_keys=True) + "\n", encoding="utf-8")
