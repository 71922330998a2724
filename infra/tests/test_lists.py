"""Every list that a service reads by a filter is one that its store has an index for."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FILTERS = {
    "evaluator/evaluations/after_provider_change.py": [{"deployment"}],
    "evaluator/evaluations/triggers.py": [{"candidate"}, {"collection"}],
    "evaluator/evaluations/estimate_power.py": [{"gate"}],
    "evaluator/evaluations/compare_prompts.py": [{"gate", "candidate"}],
    "evaluator/evaluations/queue_reevaluation.py": [{"gate", "candidate"}],
    "evaluator/evaluations/erasure.py": [{"state"}],
    "evaluator/evaluations/crud.py": [{"gate"}, {"candidate"}, {"gate", "candidate"}],
    "feedback/reactions/erase_end_user.py": [{"end_user"}, {"asked_by"}],
    "feedback/reactions/read_figures.py": [{"deployment", "metric"}],
    "feedback/curations/record_correction.py": [{"rule.deployment"}],
    "feedback/maturity/mature_value.py": [{"inference"}],
    "feedback/reactions/crud.py": [{"inference"}, {"deployment"}, {"inference", "deployment"}],
    "feedback/curations/reconcile_curation.py": [{"deployment", "metric"}],
    "feedback/reviews/crud.py": [{"queue_key"}, {"queue_key", "state"}],
    "feedback/reviews/mongo.py": [{"spec.sampling.deployment"}],
    "feedback/reviews/report_queue.py": [{"queue_key", "state"}],
    "inference/conversations/crud.py": [{"end_user"}, {"deployment", "end_user"}],
    "inference/generation/erase_end_user.py": [{"end_user"}],
    "inference/generation/read_inferences.py": [{"deployment"}],
    "ingest/datasets/crud.py": [{"state"}],
    "ingest/documents/crud.py": [{"source"}, {"state"}, {"source", "state"}, {"parent"}],
    "ingest/documents/unpack_document.py": [{"parent"}],
    "ingest/documents/withheld.py": [{"source", "withheld"}],
    "monitor/holds/crud.py": [{"state"}],
    "trainer/derivations/erasure.py": [{"state"}],
    "trainer/registry/erasure.py": [{"state"}],
    "trainer/sweeps/erasure.py": [{"state"}],
    "trainer/training/erasure.py": [{"state"}],
    "trainer/training/runs.py": [
        {"plan"},
        {"sweep"},
        {"trial.number"},
        {"plan", "trial.number"},
        {"sweep", "trial.number"},
    ],
    "trainer/training/start_runs_for_dataset_version.py": [{"dataset"}],
}
"""By module that lists with `where`: the sets of fields that it may filter by. A new one is named here."""
GIVEN = re.compile(r"\b(?:where|filters|lists)=")
"""What a module that lists, or declares lists, has in its text; few are worth parsing."""
OF_ONE_RESOURCE = {("evaluator", "case_set"), ("feedback", "refusal")}
"""Filters of lists of what belongs to one resource: results of an evaluation's cases, what a curation refuses."""


def test_every_module_that_lists_by_a_filter_is_known_here() -> None:
    listing = [*_calls("list", "where"), *_calls("list_all", "where")]
    assert {module for module, _ in listing} == set(FILTERS)


@pytest.mark.parametrize("module", FILTERS)
def test_what_it_filters_by_is_declared_by_a_store_of_its_service(module: str) -> None:
    declared = _declared(module.partition("/")[0])
    assert [fields for fields in FILTERS[module] if fields not in declared] == []


def test_every_field_that_callers_may_filter_by_has_an_index() -> None:
    asked = [
        (module.partition("/")[0], ast.literal_eval(_assigned(value, module)))
        for module, value in _calls("page_of", "filters")
    ]
    assert asked
    missing = {
        (service, name) for service, filters in asked for name in filters.values() if {name} not in _declared(service)
    }
    assert missing == OF_ONE_RESOURCE


def _declared(service: str) -> list[set[str]]:
    return [
        fields
        for function in ("MongoAggregates", "aggregates")
        for module, value in _calls(function, "lists")
        if module.startswith(f"{service}/")
        for fields in _sets(value, module)
    ]


def _calls(function: str, keyword: str) -> Iterator[tuple[str, ast.expr]]:
    """Yield where a function is called with a keyword, and what that is given."""
    for module, call in _all_calls():
        if _name(call.func) == function:
            yield from ((module, each.value) for each in call.keywords if each.arg == keyword)


@cache
def _all_calls() -> list[tuple[str, ast.Call]]:
    found = []
    for path in sorted(ROOT.glob("services/*/src/*/**/*.py")):
        module = f"{path.parts[len(ROOT.parts) + 1]}/{'/'.join(path.parts[len(ROOT.parts) + 4 :])}"
        if GIVEN.search(path.read_text()):
            found += [(module, node) for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)]
    return found


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _sets(value: ast.expr, module: str) -> list[set[str]]:
    return [set(fields) for fields in ast.literal_eval(_assigned(value, module))]


def _assigned(value: ast.expr, module: str) -> ast.expr:
    """Return the value itself, or that of a constant of the module or of one that it imports."""
    if not isinstance(value, ast.Name):
        return value
    service, _, rest = module.partition("/")
    package = f"tidemill_{service}"
    tree = _tree(ROOT / "services" / service / "src" / package / rest)
    for node in tree.body:
        if isinstance(node, ast.Assign) and _name(node.targets[0]) == value.id:
            return node.value
        if isinstance(node, ast.ImportFrom) and value.id in {each.name for each in node.names}:
            path = str(node.module).removeprefix(f"{package}.").replace(".", "/")
            return _assigned(value, f"{service}/{path}.py")
    message = f"{module} has no {value.id}"
    raise LookupError(message)
