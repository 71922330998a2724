"""garak: attacks on a deployment, and what of them had no effect."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.evaluator.v1.harness_run_pb2 import HarnessScore, HarnessTool
from tidemill_cli.harnesses.harness import NOT_RUN, TOO_FEW_ANSWERS, Found, HarnessFailed, Target, lines_of, unreadable

PROBES = ("dan.Dan_11_0", "encoding.InjectBase64", "goodside.Tag", "promptinject.HijackHateHumans")
"""By default: their prompts are in the package, and their detectors compare text, so that no model is fetched."""
MAX_UNANSWERED = 0.1
"""Share of answers that may be missing; garak leaves them out of what it counts."""
_PREFIX = "run"
_REPORT = f"{_PREFIX}.report.jsonl"
_SEED = 7
"""Of what garak draws of a probe's prompts, so that runs that are compared have the same."""
_GENERATOR = "OpenAICompatible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Garak:
    """Implements `Harness`; each prompt is asked once, with the deployment's own sampling."""

    tests: Sequence[str] = PROBES
    max_prompts: int = 12
    """Of each probe, where the probe can be cut."""
    concurrency: int = 4

    tool = HarnessTool.HARNESS_TOOL_GARAK
    name = module = "garak"

    def prepare(self, folder: Path, target: Target) -> Sequence[str]:
        """See `Harness.prepare`."""
        generator = {
            "uri": target.base_url,
            "suppressed_params": ["n", "temperature", "top_p", "frequency_penalty", "presence_penalty", "stop", "seed"],
        }
        config = {
            "system": {"lite": True, "narrow_output": True, "parallel_attempts": self.concurrency},
            "run": {"seed": _SEED, "generations": 1, "soft_probe_prompt_cap": self.max_prompts},
            "plugins": {
                "target_type": f"openai.{_GENERATOR}",
                "target_name": target.deployment,
                "probe_spec": ",".join(self.tests),
                "generators": {"openai": {_GENERATOR: generator}},
            },
            "reporting": {"report_dir": str(folder.resolve()), "report_prefix": _PREFIX},
        }
        file = folder / "garak.yaml"
        file.write_text(json.dumps(config, indent=1), encoding="utf-8")  # JSON is YAML
        return ["--config", str(file.resolve())]

    def environment(self, target: Target) -> Mapping[str, str]:
        """See `Harness.environment`."""
        return {f"{_GENERATOR.upper()}_API_KEY": target.token}

    def read(self, folder: Path) -> Found:
        """See `Harness.read`."""
        lines = lines_of(folder / _REPORT)
        evaluated = [entry for entry in map(_entry, lines) if entry.get("entry_type") == "eval"]
        if not evaluated:
            raise unreadable(why="has no evaluated probe")
        try:
            scores, unanswered, asked = _scores(evaluated)
        except (KeyError, TypeError, ValueError) as error:
            raise unreadable(why="has counts that are none") from error
        if missing := _missing(self.tests, {each.test for each in scores}):
            message = (
                f"garak did not run {missing[0]}: its log says why, with --keep; leave it out, or name another probe"
            )
            raise HarnessFailed(NOT_RUN, message)
        if unanswered > MAX_UNANSWERED * asked:
            message = (
                f"{unanswered} of {asked} prompts were not answered: see the deployment's errors, and run it again"
            )
            raise HarnessFailed(TOO_FEW_ANSWERS, message)
        return Found(scores=scores, report="\n".join([*lines, ""]).encode())


def _missing(asked: Sequence[str], scored: Collection[str]) -> list[str]:
    """Return the probes that were asked for, by class or by module, and have no score."""
    return [name for name in asked if not any(each == name or each.startswith(f"{name}.") for each in scored)]


def _entry(line: str) -> Mapping[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise unreadable(why="has a line that is no JSON") from error
    if not isinstance(entry, dict):
        raise unreadable(why="has a line that is no object")
    return entry


def _scores(evaluated: Sequence[Mapping[str, Any]]) -> tuple[list[HarnessScore], int, int]:
    """Return the scores, how many answers are missing, and how many there should be."""
    scores, unanswered, asked = list[HarnessScore](), 0, 0
    for entry in evaluated:
        passed, total, nones = int(entry["passed"]), int(entry["total_evaluated"]), int(entry.get("nones", 0))
        if not 0 <= passed <= total or nones < 0:
            raise ValueError(passed, total, nones)
        unanswered, asked = unanswered + nones, asked + total + nones
        if total:
            metric = str(entry["detector"]).removeprefix("detector.")
            scores.append(HarnessScore(test=str(entry["probe"]), metric=metric, passed=passed, total=total))
    return scores, unanswered, asked
