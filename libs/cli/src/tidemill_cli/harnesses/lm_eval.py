"""lm-evaluation-harness: tasks of its own, and a project's suites as local tasks."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, Final

from tidemill.evaluator.v1.harness_run_pb2 import HarnessScore, HarnessTool
from tidemill.evaluator.v1.suite_pb2 import Case, Suite
from tidemill_cli.harnesses.harness import Found, Target, lines_of, unreadable
from tidemill_core.errors import InvalidInput

MAX_TOKENS = 128
_SCORING = "suite_scoring.py"
_TASK: Final = """task: {task}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {cases}
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: reference
process_results: !function suite_scoring.process_results
generation_kwargs:
  until: []
  max_gen_toks: {max_tokens}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
  - metric: contains
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""
"""A task that asks each case's question, and scores the answer by `suite_scoring`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LmEval:
    """Implements `Harness`."""

    suites: Sequence[Suite] = ()
    """Asked as tasks of their own, the cases that have a reference and no earlier turns."""
    tasks: Sequence[str] = ()
    """Tasks of the harness, or of `tasks_folder`."""
    tasks_folder: Path | None = None
    max_cases: int = 0
    """Of each task; 0 means all."""
    concurrency: int = 4

    tool = HarnessTool.HARNESS_TOOL_LM_EVAL
    name = "lm-eval"
    module = "lm_eval"

    @property
    def tests(self) -> Sequence[str]:
        """See `Harness.tests`."""
        return [*(suite_name(each) for each in self.suites), *self.tasks]

    def prepare(self, folder: Path, target: Target) -> Sequence[str]:
        """See `Harness.prepare`.

        Raises:
            InvalidInput: a suite has no case that can be asked.

        """
        own = folder / "tasks"
        for number, suite in enumerate(self.suites):
            _write_task(own / f"suite_{number}", task_of(suite), suite, max_cases=self.max_cases)
        model = {
            "model": target.deployment,
            "base_url": f"{target.base_url}/chat/completions",
            "num_concurrent": self.concurrency,
            "max_retries": 3,
            "tokenizer_backend": "None",
            "tokenized_requests": False,
        }
        arguments = ["--model", "local-chat-completions", "--apply_chat_template", "--log_samples"]
        arguments += ["--model_args", ",".join(f"{name}={value}" for name, value in model.items())]
        arguments += ["--tasks", ",".join([*map(task_of, self.suites), *self.tasks])]
        arguments += ["--output_path", str((folder / "out").resolve())]
        for each in [*([own] if self.suites else []), *([self.tasks_folder] if self.tasks_folder else [])]:
            arguments += ["--include_path", str(each.resolve())]
        return [*arguments, "--limit", str(self.max_cases)] if self.max_cases else arguments

    def environment(self, target: Target) -> Mapping[str, str]:
        """See `Harness.environment`."""
        return {"OPENAI_API_KEY": target.token}

    def read(self, folder: Path) -> Found:
        """See `Harness.read`."""
        results = sorted((folder / "out").rglob("results_*.json"))
        samples = sorted((folder / "out").rglob("samples_*.jsonl"))
        if not results or not samples:
            raise unreadable(why="is not there, or has no samples")
        names = {task_of(each): suite_name(each) for each in self.suites}
        report, scores = ["".join(lines_of(results[-1]))], list[HarnessScore]()
        for file in samples:
            task = file.stem.removeprefix("samples_").rpartition("_")[0]
            lines = lines_of(file)
            report += lines
            scores += counted(names.get(task, task), [*map(_sample, lines)])
        if not scores:
            raise unreadable(why="has no metric that an answer either passes or not")
        return Found(scores=scores, report="\n".join([*report, ""]).encode())


def suite_name(suite: Suite) -> str:
    """Return the name of a suite's task in scores; a changed suite has another one, and is not compared."""
    return f"{suite.id}@{suite.version}"


def task_of(suite: Suite) -> str:
    """Return the name of a suite's task to the harness."""
    return f"tidemill_{suite.id}_v{suite.version}".replace("-", "_")


def askable(suite: Suite) -> list[Case]:
    """Return the cases that a task can ask: with a reference answer, and without earlier turns or variables.

    Those of end users are left out: a report has questions and answers, and is not erased with a person.
    """
    asked = [each for each in suite.cases if not (each.end_user or each.corrected_by)]
    return [each for each in asked if each.reference.strip() and not each.earlier and not each.variables.fields]


def counted(test: str, samples: Sequence[Mapping[str, Any]]) -> Iterator[HarnessScore]:
    """Yield how many samples passed by each metric that has only 0 and 1; others are no counts."""
    passed, total, other = Counter[str](), Counter[str](), set[str]()
    for sample in samples:
        metrics = sample.get("metrics")
        rule = str(sample.get("filter", "none"))
        for metric in metrics if isinstance(metrics, list) else ():
            name = metric if rule == "none" else f"{metric},{rule}"
            value = sample.get(metric)
            if value not in (0, 1):
                other.add(name)
            else:
                passed[name] += int(value)
                total[name] += 1
    for name in sorted(total.keys() - other):
        yield HarnessScore(test=test, metric=name, passed=passed[name], total=total[name])


def _sample(line: str) -> Mapping[str, Any]:
    try:
        sample = json.loads(line)
    except json.JSONDecodeError as error:
        raise unreadable(why="has a line that is no JSON") from error
    if not isinstance(sample, dict):
        raise unreadable(why="has a line that is no object")
    return sample


def _write_task(folder: Path, task: str, suite: Suite, *, max_cases: int) -> None:
    cases = sorted(askable(suite), key=lambda case: sha256(case.id.encode()).digest())
    if not cases:
        message = f"suite {suite.id} has no case with a reference answer and without earlier turns: name another suite"
        raise InvalidInput(message)
    folder.mkdir(parents=True)
    chosen = cases[: max_cases or len(cases)]
    lines = [json.dumps({"id": each.id, "question": each.question, "reference": each.reference}) for each in chosen]
    file = (folder / "cases.jsonl").resolve()
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    text = _TASK.format(task=task, cases=json.dumps(str(file)), max_tokens=MAX_TOKENS)
    (folder / "task.yaml").write_text(text, encoding="utf-8")
    scoring = resources.files("tidemill_cli.harnesses").joinpath(_SCORING).read_text("utf-8")
    (folder / _SCORING).write_text(scoring, encoding="utf-8")
