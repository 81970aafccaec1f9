"""What MLflow's page of an experiment shows first: what is needed to compare runs.

MLflow keeps a saved view as a tag of its experiment. Whoever opens the view's link, or
picks it in the menu `Views`, sees these; MLflow adds a chart for every other metric.
"""

import base64
import json
import zlib
from typing import Any

KEY, NAME = "so101rl", "compare"
VIEW = "mlflow.sharedViewState."  # begins the tags of an experiment that are views
TAG = f"{VIEW}{KEY}"
METRICS = ("base/success_rate", "residual/success_rate")
PARAMS = ("base_policy", "algo", "seed", "residual.alpha", "total_timesteps")
BARS = ("residual/success_rate", "base/success_rate")
CURVES = (
    *("eval/success_rate", "rollout/success_rate"),
    *("task/distance_m", "residual/l2"),
)
DIFFERENCES, SUCCESS = "parameters that differ", "success"  # the two sections
HEIGHT = 330  # of the table of differences [pixels]


def tags() -> dict[str, str]:
    """The tag of an experiment that holds the view."""
    return {TAG: _saved(NAME, 0, _state([_difference(), *_charts()]))}


def of_sweep(
    uid: str, name: str, began: int, words: str, group: str | None
) -> dict[str, str]:
    """The tag of an experiment that holds the view of a sweep.

    Args:
        uid: of the sweep.
        name: of the view.
        began: unix time [ms].
        words: that filter its runs.
        group: a tag; runs with the same are drawn as one, mean and range.
    """
    state = _state(_charts() if group else [_difference(), *_charts()])
    state["searchFilter"] = words
    if group is not None:
        by = {"mode": "tag", "groupByData": group}
        state["groupBy"] = {"aggregateFunction": "average", "groupByKeys": [by]}
    return {f"{TAG}-{uid}": _saved(name, began, state)}


def _saved(name: str, began: int, state: dict[str, Any]) -> str:
    """A view as MLflow keeps it."""
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    times = {"createdAt": began, "updatedAt": began}
    return json.dumps({"name": name, **times, "state": f"deflate;{packed}"})


def description(experiment_id: str) -> str:
    """What stands above an experiment's runs, and leads to the view."""
    return f"Success, parameters that differ, curves: [compare]({link(experiment_id)})"


def link(experiment_id: str, key: str = KEY) -> str:
    """Where a view is, behind the server's address."""
    page = f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    return f"{page}&compareRunsMode=CHART&viewStateShareKey={key}"


def _state(charts: list[dict[str, Any]]) -> dict[str, Any]:
    """The state of the page, as MLflow writes it."""
    columns = [f"metrics.`{name}`" for name in METRICS]
    columns += [f"params.`{name}`" for name in PARAMS]
    return {
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "searchFilter": "",
        "selectedColumns": columns,
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "FIRST_10_RUNS",
        "compareRunCharts": charts,
        "compareRunSections": [
            section
            for section in (
                _section(DIFFERENCES, columns=1, cardHeight=HEIGHT),
                _section(SUCCESS),
            )
            if any(chart["metricSectionId"] == section["uuid"] for chart in charts)
        ],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "useGroupedValuesInCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "viewMaximized": False,
        "runListHidden": False,
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }


def _section(name: str, **layout: int) -> dict[str, Any]:
    flags = {"display": True, "isReordered": True, "deleted": False}
    return {"uuid": name, "name": name, **flags, "isGenerated": False, **layout}


def _chart(kind: str, section: str, name: str, **values: Any) -> dict[str, Any]:
    card = {"uuid": f"{kind} {name}", "type": kind, "metricSectionId": section}
    flags = {"runsCountToCompare": 10, "deleted": False, "isGenerated": False}
    return {**card, **flags, "displayName": name, **values}


def _charts() -> list[dict[str, Any]]:
    """Results and curves."""
    return [*map(_bar, BARS), *map(_curve, CURVES)]


def _difference() -> dict[str, Any]:
    """A table of the parameters in which runs differ."""
    return _chart(
        "DIFFERENCE",
        DIFFERENCES,
        DIFFERENCES,
        chartName=DIFFERENCES,
        compareGroups=["Parameters"],
        showChangeFromBaseline=False,
        showDifferencesOnly=True,
        baselineColumnUuid="",
    )


def _bar(metric: str) -> dict[str, Any]:
    return _chart("BAR", SUCCESS, metric, metricKey=metric)


def _curve(metric: str) -> dict[str, Any]:
    """A metric over env steps."""
    return _chart(
        "LINE",
        SUCCESS,
        metric,
        metricKey=metric,
        selectedMetricKeys=[metric],
        xAxisKey="step",
        xAxisScaleType="linear",
        scaleType="linear",
        lineSmoothness=0,
        range={},
        selectedXAxisMetricKey="",
        yAxisKey="metric",
        yAxisExpressions=[],
        ignoreOutliers=False,
        useGlobalXaxisKey=True,
        useGlobalLineSmoothing=True,
    )
