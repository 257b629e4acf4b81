"""The result of one benchmark: our samples, the reference's samples from the same rounds, and the target."""

from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Target:
    """A bound on the ratio, or on our median where there is no yardstick."""

    limit: float
    at_most: bool

    def met_by(self, value: float) -> bool:
        """Whether the measured value is inside the bound."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"


def at_most(limit: float) -> Target:
    """A target that smaller values meet."""
    return Target(limit, at_most=True)


def at_least(limit: float) -> Target:
    """A target that larger values meet."""
    return Target(limit, at_most=False)


@dataclass(frozen=True)
class Result:
    """One line of the table: a case, measured in one unit, with at most one yardstick."""

    case: str
    unit: str
    ours: list[float]
    yardstick: str = ""
    theirs: list[float] = field(default_factory=list)
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        """Ours divided by theirs: the median over the rounds, so that slow drift of the machine cancels out."""
        if not self.theirs:
            return None
        if len(self.ours) == len(self.theirs):
            return median(ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True))
        return median(self.ours) / median(self.theirs)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.target.met_by(median(self.ours) if self.ratio is None else self.ratio)


def against(
    case: str, unit: str, samples: dict[str, list[float]], targets: dict[str, Target], subject: str = "queuectl"
) -> list[Result]:
    """One result for each yardstick in `samples`; `targets` is by yardstick."""
    ours = samples[subject]
    return [
        Result(case, unit, ours, yardstick, theirs, targets.get(yardstick))
        for yardstick, theirs in samples.items()
        if yardstick != subject
    ]
