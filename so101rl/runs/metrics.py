"""What a metric of a study is, and its value in one run, from that run's episodes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from so101rl.errors import So101Error
from so101rl.statistics import BASE, RESIDUAL

ON = " on "  # between a policy and one of `evaluation.tests`
Episodes = Sequence[Mapping[str, Any]]  # rows of `episodes.csv` of one policy


class ScoreError(So101Error):
    """There is no such metric, or the runs do not tell it."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number of a policy in a run, and how to speak of it.

    Attributes:
        title: what it is.
        unit: as shown; empty if it has none.
        factor: from the unit in the files to that.
        digits: behind the point, as shown.
        above: what an arm with more of it is, and
        below: with less of it.
        worst: what a run that gave no result counts as; None: nothing is bad enough.
        read: its value from one policy's episodes of a run.
    """

    title: str
    unit: str = ""
    factor: float = 1.0
    digits: int = 2
    above: str
    below: str
    worst: float | None = None
    read: Callable[[Episodes], float | None]

    def shown(self, value: float, *, sign: bool = False) -> str:
        """A value as tables have it, without its unit."""
        text = f"{self.factor * value:{'+' if sign else ''}.{self.digits}f}"
        return f"{0.0:.{self.digits}f}" if float(text) == 0 else text

    @property
    def in_unit(self) -> str:
        """The unit behind a title."""
        return f" [{self.unit}]" if self.unit else ""


def _rate(episodes: Episodes) -> float:
    return sum(row["is_success"] for row in episodes) / len(episodes)


def _mean(column: str) -> Callable[[Episodes], float | None]:
    """The mean of a column where it has values, as `episodes.summary` computes it."""

    def read(episodes: Episodes) -> float | None:
        import numpy as np

        values = [row[column] for row in episodes if row[column] is not None]
        return float(np.mean(values)) if values else None

    return read


# By the keys of `evaluation.json`.
MEASURES = {
    "success_rate": Measure(
        title="success",
        unit="%",
        factor=100.0,
        digits=1,
        above="better",
        below="worse",
        worst=0.0,
        read=_rate,
    ),
    "mean_return": Measure(
        title="return", above="better", below="worse", read=_mean("return")
    ),
    "mean_final_distance_m": Measure(
        title="final distance",
        unit="mm",
        factor=1000.0,
        digits=1,
        above="worse",
        below="better",
        read=_mean("final_distance_m"),
    ),
    "mean_time_to_success_s": Measure(
        title="time to success",
        unit="s",
        above="slower",
        below="faster",
        read=_mean("time_to_success_s"),
    ),
    "mean_residual_l2": Measure(
        title="residual size",
        digits=3,
        above="larger",
        below="smaller",
        read=_mean("mean_residual_l2"),
    ),
}


def measure_of(metric: str) -> tuple[str, Measure]:
    """Policy and measure of a metric such as `residual/success_rate`.

    Raises:
        ScoreError: there is no such metric.
    """
    policy, _, key = metric.partition("/")
    if policy.partition(ON)[0] not in (BASE, RESIDUAL) or key not in MEASURES:
        raise ScoreError(
            f"metric={metric}: right is base/ or residual/ and one of "
            f"{', '.join(MEASURES)}"
        )
    return policy, MEASURES[key]


def tested_as(policy: str, test: str) -> str:
    """What a policy is called under one of `evaluation.tests`."""
    return f"{policy}{ON}{test}"


def base_of(policy: str) -> str:
    """The base under the same conditions, `base on hard` for `residual on hard`."""
    return BASE + policy.removeprefix(policy.partition(ON)[0])


def all_scores(evaluation: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Everything in an `evaluation.json`, by policy; nothing if there is none."""
    known = evaluation or {}
    return {**known.get("policies", {}), **known.get("tests", {})}


def checked_score(
    metric: str, episodes: Episodes, evaluation: Mapping[str, Any], where: str
) -> float | None:
    """A metric from a run's episodes, which its `evaluation.json` has to confirm.

    Args:
        metric: such as `residual/success_rate`.
        episodes: of that policy.
        evaluation: content of `evaluation.json`.
        where: the run, for the message.

    Raises:
        ScoreError: the two files do not agree.
    """
    policy, measure = measure_of(metric)
    value = measure.read(episodes)
    written = all_scores(evaluation)[policy][metric.partition("/")[2]]
    if value != written:
        raise ScoreError(
            f"{where}: evaluation.json has {metric} {written}, its episodes give "
            f"{value}; one of the files is not what the run wrote"
        )
    return value
