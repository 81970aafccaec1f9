"""What `job=explain` prints: the verdict, the symptoms, and what to try next."""

import textwrap
from collections.abc import Iterator, Sequence

from omegaconf import DictConfig

from so101rl.diagnosis.advice import Change, command
from so101rl.diagnosis.facts import Facts
from so101rl.diagnosis.finding import Finding
from so101rl.diagnosis.symptoms import Symptom
from so101rl.diagnosis.verdict import (
    GOOD,
    UNJUDGED,
    UNSURE,
    base_comparison,
    judge,
    never_improved,
)
from so101rl.runs.failures import on_run, remedy
from so101rl.statistics import BASE, RESIDUAL

LINE = 98  # characters
ENDING = 6  # lines after the symptoms: other names, next command, figure
TUNING = "docs/tuning.md"


def explanation(
    facts: Facts, found: Sequence[Symptom], limits: DictConfig
) -> list[str]:
    """Return the lines that `job=explain` prints.

    Args:
        facts: facts of the run.
        found: its symptoms, most urgent first.
        limits: the node `job` of the config.
    """
    verdict = judge(facts, limits)
    lines = [_head(facts), *_verdict(facts, verdict, limits)]
    if verdict == GOOD:
        lines.append("Nothing needs changing.")
        seen = [f"{symptom.name} ({symptom.finding.shows})" for symptom in found]
        return lines + (_wrapped(f"Also seen: {', '.join(seen)}.", "") if seen else [])
    if not found and verdict != UNJUDGED:
        return [*lines, f"No known symptom; what else may help is in {TUNING}."]
    lines += _symptoms(found, limits, room=limits.lines - len(lines) - ENDING)
    tries = [change for symptom in found for change in symptom.changes]
    if tries:
        lines += ["", f"Next, one change at a time: {command(facts, tries[0])}"]
    return lines


def _head(facts: Facts) -> str:
    chosen = (facts.info["groups"].get(key) for key in ("env", "base_policy", "algo"))
    parts = [facts.info["name"], " / ".join(filter(None, chosen))]
    return "   ".join(filter(None, [*parts, f"seed {facts.info['seed']}"]))


def _verdict(facts: Facts, verdict: str, limits: DictConfig) -> Iterator[str]:
    yield from _status(facts)
    base = f"the base {_rate(facts, BASE)}" if BASE in facts.scores else ""
    if RESIDUAL in facts.scores:
        n = facts.scores[RESIDUAL]["n_episodes"]
        text = f"{verdict}: solves {_rate(facts, RESIDUAL)} of {n} held-out episodes"
        yield from _wrapped(f"{text}{base and ', '}{base}.", "")
        yield from _wrapped(_against_base(facts, limits), "")
        if verdict == UNSURE:
            yield f"  too few for a verdict; run more: {on_run('evaluate', facts.path)}"
    elif facts.lines:
        yield f"{verdict}: no held-out episode was run."
    elif base:
        yield f"NOT TRAINED: {base} of {facts.scores[BASE]['n_episodes']} episodes."
        if facts.typed is not None:
            yield f"  train a residual on top of it: {command(facts)}"
    else:
        yield f"{verdict}: the run ended before its first log line."


def _status(facts: Facts) -> Iterator[str]:
    status, error = facts.info["status"], facts.info["error"]
    if status == "finished":
        return
    asked = facts.values["total_timesteps"]
    so_far = f"{status.upper()} after {facts.steps:,} of {asked:,} env steps"
    if error is None:
        hint = "a process still runs it or has died; job=resume finds out"
        yield so_far + (f"; {hint}" if status == "running" else "")
        return
    first = error["message"].splitlines()[0] if error["message"] else error["class"]
    yield from _wrapped(f"{so_far} ({error['kind']}): {first}", "")
    if error["kind"] != "diverged":  # that is a symptom
        text, again = remedy(error["kind"], facts.path)
        yield f"  {text}" + (f": {again}" if again else "")


def _rate(facts: Facts, policy: str) -> str:
    rate, interval = facts.success(policy), facts.interval(policy)
    assert rate is not None and interval is not None
    return f"{rate:.0%} [{100 * interval[0]:.0f}, {100 * interval[1]:.0f}]"


def _against_base(facts: Facts, limits: DictConfig) -> str:
    """Sentences on the comparison with the base and its uncertainty."""
    sentences = []
    pair = base_comparison(facts)
    if pair is not None:
        sentences.append(f"{': '.join(pair.describe(limits.significance))}.")
    if never_improved(facts):
        whose = ", that of init_from" if facts.info.get("init_from") else ""
        sentences.append(
            f"The policy of step 0{whose} was evaluated: training did not improve it."
        )
    sentences.append("This is one seed; seeds may differ by more.")
    return " ".join(sentences)


def _symptoms(found: Sequence[Symptom], limits: DictConfig, room: int) -> Iterator[str]:
    """Yield the symptoms that fit into `room` lines, then the names of the others.

    A key is suggested once, with the first symptom that has it.
    """
    named: set[str] = set()
    for number, symptom in enumerate(found):
        tries = [c for c in symptom.changes if c.key not in named][: limits.tries]
        text = ["", *_symptom(symptom.name, symptom.finding, tries)]
        room -= len(text)
        if room < 0:
            rest = ", ".join(other.name for other in found[number:])
            also = textwrap.shorten(f"Also: {rest}.", 2 * LINE - 20, placeholder=" ...")
            yield from ["", *_wrapped(also, "")]
            return
        named |= {change.key for change in tries}
        yield from text


def _symptom(name: str, finding: Finding, tries: Sequence[Change]) -> Iterator[str]:
    yield from _wrapped(f"{name}: {finding.shows}", "", "    ")
    yield from _wrapped(finding.means, "    ")
    if tries:
        yield from _wrapped(f"try {', '.join(map(str, tries))}", "    ")


def _wrapped(text: str, indent: str, later: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        LINE,
        initial_indent=indent,
        subsequent_indent=indent if later is None else later,
        break_long_words=False,
        break_on_hyphens=False,
    )
