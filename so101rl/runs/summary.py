"""A run's result in Markdown, for a tracker's page or a terminal."""

from collections.abc import Mapping
from typing import Any

from so101rl.runs.failures import format_error, on_run, remedy
from so101rl.runs.run_dir import RunDir
from so101rl.statistics import mcnemar_test

SIGNIFICANCE = 0.05  # as in conf/job/explain.yaml: both say the same of a run


def run_summary(run: RunDir) -> str:
    """How a run ended, what its policies solve, what it was, and what to type next."""
    policies = (run.evaluation() or {}).get("policies", {})
    parts = [_ending(run, policies), _scores(policies), _origin(run), _next(run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def success(scores: Mapping[str, Any]) -> str:
    """A success rate and its 95 % Wilson interval [%], such as `74.0 [64.6, 81.6]`."""
    low, high = (100 * end for end in scores["wilson_95"])
    return f"{100 * scores['success_rate']:.1f} [{low:.1f}, {high:.1f}]"


def env_steps(run: RunDir) -> int | None:
    """Env step of the last log line; None if there is none."""
    lines = run.metrics()
    return int(lines[-1]["step"]) if lines else None


def _ending(run: RunDir, policies: Mapping[str, Any]) -> str:
    """The first line: how it ended, or how residual and base compare."""
    status, error = run.info["status"], run.info["error"]
    if error:
        steps = env_steps(run)
        when = f" after {steps:,} env steps" if steps else ""
        return f"**{status.capitalize()}{when}**: {format_error(error)}"
    pair = mcnemar_test(run.episodes()) if policies else None
    if pair is not None:
        found, numbers = pair.describe(SIGNIFICANCE)
        doubt = "One training, one seed; another seed may end elsewhere."
        return f"**{found}**: {numbers}. {doubt}"
    return f"**{status.capitalize()}**" + ("" if policies else ", not evaluated")


def _scores(policies: Mapping[str, Any]) -> str:
    """A line per policy."""
    lines = []
    for name, scores in policies.items():
        ranked = sorted(scores["failures"].items(), key=lambda item: -item[1])
        failures = ", ".join(f"{kind} {n}" for kind, n in ranked) or "none"
        solved = f"{success(scores)} % of {scores['n_episodes']} episodes"
        lines.append(f"- **{name}**: {solved}; failures: {failures}")
    return "\n".join(lines)


def _origin(run: RunDir) -> str:
    """Its options and seed, its effort, command, commit and directory."""
    info = run.info
    choices = ", ".join(
        f"{group} {_option(option)}"
        for group, option in info["groups"].items()
        if group not in ("job", "tracking")
    )
    facts = {"what": f"{choices}; seed {info['seed']}"}
    if info.get("init_from"):
        facts["began with"] = f"the best policy of {info['init_from']['name']}"
    steps = env_steps(run)
    minutes = f"{info['wall_clock_s'] / 60:.1f} min"
    facts["effort"] = f"{steps:,} env steps, {minutes}" if steps else minutes
    facts["command"] = f"`{info['command']}`"
    if info["git"]:
        dirty = ", with changes" if info["git"]["dirty"] else ""
        facts["commit"] = f"{info['git']['commit'][:10]}{dirty}"
    facts["directory"] = f"`{run.path}`"
    return "\n".join(f"- {name}: {text}" for name, text in facts.items())


def _option(option: object) -> str:
    """A group's choice; some groups take several."""
    return "+".join(map(str, option)) if isinstance(option, list) else str(option)


def _next(run: RunDir) -> str:
    """What to type next."""
    info = run.info
    if info["status"] == "running" or info["groups"].get("job") == "evaluate":
        return ""  # there is nothing to continue
    if info["status"] == "finished":
        return f"Why it is as it is: `{on_run('explain', run.path)}`"
    kind = info["error"]["kind"] if info["error"] else "stopped"
    words, again = remedy(kind, run.path)
    return f"What helps: {words}" + (f": `{again}`" if again else "")
