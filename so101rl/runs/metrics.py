"""The metrics of a policy: how each is computed from its episodes, named and shown."""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from so101rl.errors import So101Error
from so101rl.runs.episodes_csv import FINAL
from so101rl.runs.task import NumberInfo, TaskFileError
from so101rl.statistics import BASE, RESIDUAL, wilson

if TYPE_CHECKING:
    from so101rl.runs.run_dir import RunDir

# Units as shown, and factors, of numbers whose names end in them.
UNITS = {"m": ("mm", 1000.0), "rad": ("degrees", math.degrees(1)), "s": ("s", 1.0)}
ON = " on "  # between a policy and one of `evaluation.tests`
Episodes = Sequence[Mapping[str, Any]]  # rows of `episodes.csv` of one policy


class ScoreError(So101Error):
    """A metric does not exist, or the files of a run disagree about it."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number of a policy in a run, and how it is shown.

    Attributes:
        title: its name in tables.
        unit: as shown; empty if it has none.
        factor: from the unit in the files to the one shown.
        digits: behind the point, as shown.
        above: what an arm with a larger value is called, and
        below: one with a smaller value.
        worst: the value of a run that gave no result; None: it has none.
        read: computes it from one policy's episodes of a run.
    """

    title: str
    unit: str = ""
    factor: float = 1.0
    digits: int = 2
    above: str = "better"
    below: str = "worse"
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


def _success_rate(episodes: Episodes) -> float:
    return sum(row["is_success"] for row in episodes) / len(episodes)


def _mean(column: str) -> Callable[[Episodes], float | None]:
    """The mean of a column over the rows that have a value in it."""

    def read(episodes: Episodes) -> float | None:
        import numpy as np

        found = [row.get(column) for row in episodes]
        values = [value for value in found if value is not None]
        return float(np.mean(values)) if values else None

    return read


# By the keys of `evaluation.json`.
POLICY_METRICS = {
    "success_rate": Metric(
        title="success",
        unit="%",
        factor=100.0,
        digits=1,
        worst=0.0,
        read=_success_rate,
    ),
    "mean_return": Metric(title="return", read=_mean("return")),
    "mean_time_to_success_s": Metric(
        title="time to success",
        unit="s",
        above="slower",
        below="faster",
        read=_mean("time_to_success_s"),
    ),
    "mean_residual_l2": Metric(
        title="residual size",
        digits=3,
        above="larger",
        below="smaller",
        read=_mean("mean_residual_l2"),
    ),
}


FINAL_METRIC = f"mean_{FINAL}"  # begins the mean of a task's number at the end


def _final_metric(name: str, told: NumberInfo | None = None) -> Metric:
    """Return the metric of a task's number, such as `mean_final_distance_m`.

    Without what the task has `told` about it, its name says title and unit.
    """
    number = name.removeprefix(FINAL_METRIC)
    title, _, suffix = number.rpartition("_")
    unit, factor = UNITS.get(suffix, ("", 1.0))
    words = (title if unit else number).replace("_", " ")
    above, below = "larger", "smaller"
    if told is not None:
        words, unit, factor = told.title, told.unit, told.factor
        higher = told.better == "higher"
        above, below = ("better", "worse") if higher else ("worse", "better")
    return Metric(
        title=f"final {words}",
        unit=unit,
        factor=factor,
        digits=1,
        above=above,
        below=below,
        read=_mean(f"{FINAL}{number}"),
    )


def _final_metrics(row: Mapping[str, Any]) -> dict[str, Metric]:
    names = [f"mean_{column}" for column in row if column.startswith(FINAL)]
    return {name: _final_metric(name) for name in names}


def policy_scores(episodes: Episodes, *, root: int, role: str) -> dict[str, Any]:
    """One policy's entry in `evaluation.json`.

    `root` is the run's seed, `role` that of the episodes: `report` or `tune`.
    """
    n = len(episodes)
    solved = sum(row["is_success"] for row in episodes)
    failures = Counter(row["failure"] for row in episodes if not row["is_success"])
    known = POLICY_METRICS | _final_metrics(episodes[0])
    values = {key: metric.read(episodes) for key, metric in known.items()}
    return {
        "success_rate": values.pop("success_rate"),
        "wilson_95": list(wilson(solved, n)),
        "n_episodes": n,
        **values,
        "failures": dict(sorted(failures.items())),
        "seeds": {"role": role, "root": root, "first": episodes[0]["seed"], "n": n},
    }


def find_metric(name: str, told: NumberInfo | None = None) -> tuple[str, Metric]:
    """Policy and metric of a name such as `residual/success_rate`.

    Raises:
        ScoreError: there is no such metric.
    """
    policy, _, key = name.partition("/")
    known = policy.partition(ON)[0] in (BASE, RESIDUAL)
    if known and key in POLICY_METRICS:
        return policy, POLICY_METRICS[key]
    if known and key.startswith(FINAL_METRIC):
        return policy, _final_metric(key, told)
    raise ScoreError(
        f"metric={name}: expected base/ or residual/ and one of "
        f"{', '.join(POLICY_METRICS)} or {FINAL_METRIC}NUMBER"
    )


def number_of(run: "RunDir", name: str) -> dict[str, Any]:
    """Return what a run's task tells about the number in a metric; empty if nothing."""
    with contextlib.suppress(TaskFileError):
        for number in run.task().numbers:
            if name.endswith(f"/{FINAL_METRIC}{number.name}"):
                return asdict(number)
    return {}


def check_number(name: str, numbers: Iterable[str]) -> None:
    """Raise a ScoreError if a metric is of a number that is none of a task's."""
    policy, _, key = name.partition("/")
    known = [f"{policy}/{FINAL_METRIC}{number}" for number in numbers]
    if key.startswith(FINAL_METRIC) and name not in known:
        raise ScoreError(f"metric={name}: expected one of {', '.join(known)}")


def tested_as(policy: str, test: str) -> str:
    """The name of a policy under one of `evaluation.tests`."""
    return f"{policy}{ON}{test}"


def base_of(policy: str) -> str:
    """The base under the same conditions, `base on hard` for `residual on hard`."""
    return BASE + policy.removeprefix(policy.partition(ON)[0])


def all_scores(evaluation: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The entries of an `evaluation.json` by policy; empty if there is no file."""
    known = evaluation or {}
    return {**known.get("policies", {}), **known.get("tests", {})}


def checked_score(
    name: str, episodes: Episodes, evaluation: Mapping[str, Any], where: str
) -> float | None:
    """A metric such as `residual/success_rate`, from the episodes of that policy.

    Raises:
        ScoreError: the run's `evaluation.json` has no such value, or another one. The
            message says `where` the run is.
    """
    policy, metric = find_metric(name)
    scores, key = all_scores(evaluation).get(policy, {}), name.partition("/")[2]
    if key not in scores:
        raise ScoreError(f"{where}: evaluation.json has no {name}")
    value, written = metric.read(episodes), scores[key]
    if value != written:
        raise ScoreError(
            f"{where}: evaluation.json has {name} {written}, its episodes give "
            f"{value}; one of the files is not what the run wrote"
        )
    return value
