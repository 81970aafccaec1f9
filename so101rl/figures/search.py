"""The figure of a search: objective by trial, importances, objective by parameter."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from so101rl.figures.style import (
    GREY,
    WIDTH,
    FigureError,
    headline,
    legend_below,
    line_key,
    new_figure,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
BLUE, BEST_COLOUR = "#0072B2", "#E69F00"
STYLES: dict[str, dict[str, Any]] = {
    COMPLETE: {"color": BLUE, "marker": "o", "ms": 5, "ls": "", "mew": 1.6},
    PRUNED: {"color": "#8a8a8a", "marker": "|", "ms": 8, "ls": "", "mew": 1.6},
    FAILED: {"color": "#D55E00", "marker": "x", "ms": 6, "ls": "", "mew": 1.6},
}
EDGE = 0.035  # height of marks without a value, as a share of the panel
COLUMNS, MOST = 3, 9  # panels of parameters in a row, and in all
TOP, ROW = 2.9, 2.3  # heights of the rows [inch]
REMARK = 32  # characters of a line of the remark
FAR = 200  # ratio of the ends above which a logarithmic axis shows only powers of ten


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """A trial in the figure of a search.

    Attributes:
        number: of the trial.
        end: complete, pruned or failed.
        values: values of the objectives, if the trial is complete.
        params: tried values by key: numbers, or texts of `choices`.
    """

    number: int
    end: str
    values: Sequence[float] = ()
    params: Mapping[str, float | str]


@dataclass(frozen=True, kw_only=True)
class SearchedParam:
    """A parameter of a search.

    Attributes:
        name: its key.
        low: the least value; `high` is the greatest.
        is_log: whether the scale is logarithmic.
        choices: the values of a parameter that is not a number.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    choices: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The content of the figure of a search.

    Attributes:
        title: a grey line above.
        objectives: by name, whether more is better.
        trials: those that have ended, by number.
        best: number of the best trial; with several objectives, the Pareto front.
        params: the searched parameters.
        importances: per parameter, its share of the first objective's variance.
        remark: why there are no importances.
    """

    title: str
    objectives: Mapping[str, bool]
    trials: Sequence[TrialResult]
    best: Collection[int]
    params: Sequence[SearchedParam]
    importances: Mapping[str, float]
    remark: str = ""

    @property
    def complete(self) -> list[TrialResult]:
        """The trials that have a value."""
        return [one for one in self.trials if one.end == COMPLETE]

    @property
    def shown(self) -> list[SearchedParam]:
        """At most `MOST` parameters, the most important first."""
        by_share = sorted(
            self.params, key=lambda one: -self.importances.get(one.name, 0.0)
        )
        return by_share[:MOST]


def figure_search(path: Path, search: SearchResult) -> Path:
    """Draw a search; returns the path of the PNG.

    Raises:
        FigureError: no trial is complete.
    """
    if not search.complete:
        raise FigureError(f"{search.title}: no trial is complete, so nothing to draw")
    rows = math.ceil(len(search.shown) / COLUMNS)
    with new_figure(WIDTH, TOP + ROW * rows) as figure:
        heights = [TOP, *[ROW] * rows]
        grid = figure.add_gridspec(1 + rows, COLUMNS, height_ratios=heights)
        first = figure.add_subplot(grid[0, : COLUMNS - 1])
        if len(search.objectives) == 1:
            _draw_history(first, search)
        else:
            _draw_front(first, search)
        _draw_importances(figure.add_subplot(grid[0, -1]), search)
        left: Axes | None = None
        for place, param in enumerate(search.shown):
            axes = figure.add_subplot(grid[1 + place // COLUMNS, place % COLUMNS])
            if left is not None:
                axes.sharey(left)
            left = left or axes
            _draw_param(axes, search, param)
            if place % COLUMNS:
                axes.tick_params(labelleft=False)
            else:
                axes.set_ylabel(next(iter(search.objectives)))
        headline(figure, search.title)
        _draw_legend(figure, search)
        return save(figure, path)


def _draw_history(axes: "Axes", search: SearchResult) -> None:
    """Draw the objective over trials, and its best value so far."""
    from matplotlib.ticker import MaxNLocator

    ((name, more),) = search.objectives.items()
    numbers = [one.number for one in search.complete]
    values = [one.values[0] for one in search.complete]
    so_far: list[float] = []
    better = max if more else min
    for value in values:
        so_far.append(better(so_far[-1], value) if so_far else value)
    last = max((one.number for one in search.trials), default=0)
    if so_far:
        steps = [*numbers, last], [*so_far, so_far[-1]]
        axes.plot(*steps, drawstyle="steps-post", color=BEST_COLOUR)
    _scatter(axes, search, {one.number: one.number for one in search.trials})
    axes.set_title("Trials")
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{name}\n({_wanted(more)})")
    axes.set_xlim(-0.5, max(last, 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_front(axes: "Axes", search: SearchResult) -> None:
    """Draw the first two objectives against each other, and the Pareto front."""
    (one, more), (two, other), *_ = search.objectives.items()
    style: dict[str, Any] = {"color": BLUE, "ms": 5, "ls": ""}
    points = {trial.number: trial.values for trial in search.complete}
    axes.plot(*_columns(points.values()), "o", alpha=0.6, **style)
    front = sorted(tuple(points[one]) for one in search.best if one in points)
    axes.plot(*_columns(front), "-o", color=BEST_COLOUR, mec="black", ms=6, lw=1.2)
    axes.set_title("Trade-off")
    axes.set_xlabel(f"{one} ({_wanted(more)})")
    axes.set_ylabel(f"{two}\n({_wanted(other)})")


def _draw_importances(axes: "Axes", search: SearchResult) -> None:
    """Draw a bar per parameter, with its name above."""
    axes.set_title("Importance")
    shown = [one.name for one in search.shown if one.name in search.importances]
    if not shown:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        remark = "\n".join(wrap(search.remark, REMARK))
        axes.text(0, 0.95, remark, va="top", color=GREY)
        return
    shares = [100 * search.importances[name] for name in shown]
    bars = axes.barh(range(len(shown)), shares, 0.4, color=BLUE)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    for y, name in enumerate(shown):
        axes.annotate(name, (0, y - 0.24), (1, 1), textcoords="offset points")
    axes.set_yticks([])
    axes.set_ylim(len(shown) - 0.7, -0.7)
    axes.set_xlim(0, 1.15 * max(shares))
    axes.set_xlabel("share of the variance [%]")


def _draw_param(axes: "Axes", search: SearchResult, param: SearchedParam) -> None:
    """Draw the first objective over one parameter."""
    tried: dict[int, Any] = {
        one.number: one.params[param.name]
        for one in search.trials
        if param.name in one.params
    }
    if param.choices:
        texts = list(param.choices)
        axes.set_xticks(range(len(texts)), texts)
        axes.set_xlim(-0.5, len(texts) - 0.5)
        tried = {number: texts.index(value) for number, value in tried.items()}
    elif param.is_log:
        _log_axis(axes, param.high / param.low)
    _scatter(axes, search, tried)
    if not param.choices and param.low < param.high:
        axes.update_datalim([(param.low, 0), (param.high, 0)], updatey=False)
        axes.autoscale_view(scaley=False)
    axes.set_xlabel(param.name)


def _log_axis(axes: "Axes", ratio: float) -> None:
    """Make the x axis logarithmic, with a few plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    subs = (1.0,) if ratio > FAR else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _scatter(axes: "Axes", search: SearchResult, x: Mapping[int, float]) -> None:
    """Draw dots for trials with a value, and marks at the lower edge for others."""
    edge = axes.get_xaxis_transform()
    for end in (PRUNED, FAILED):
        numbers = [one.number for one in search.trials if one.end == end]
        at = [x[number] for number in numbers if number in x]
        if at:  # an empty line would disturb the layout
            heights = [EDGE] * len(at)
            axes.plot(at, heights, **STYLES[end], transform=edge, clip_on=False)
    points = {
        one.number: (x[one.number], one.values[0])
        for one in search.complete
        if one.number in x
    }
    axes.plot(*_columns(points.values()), **STYLES[COMPLETE], alpha=0.75)
    best = [points[number] for number in search.best if number in points]
    axes.plot(*_columns(best), "o", ms=9, mfc="none", mec=BEST_COLOUR, mew=2)
    axes.margins(y=0.12)


def _draw_legend(figure: "Figure", search: SearchResult) -> None:
    ends = [end for end in STYLES if any(one.end == end for one in search.trials)]
    keys = [line_key(end, **STYLES[end]) for end in ends]
    if search.best:
        style: dict[str, Any] = {"color": BEST_COLOUR, "marker": "o", "mfc": "none"}
        single = len(search.objectives) == 1
        label = "best so far, best" if single else "beaten by none in all objectives"
        keys.append(line_key(label, **style, ms=8, mew=2))
    legend_below(figure, keys)


def _wanted(more: bool) -> str:
    return "more is better" if more else "less is better"


def _columns(points: Collection[Any]) -> tuple[list[Any], list[Any]]:
    """Return x and y of points; further coordinates are dropped."""
    return [point[0] for point in points], [point[1] for point in points]
