"""Every list that a service reads by a filter is one that its store has an index for."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FILTERS = {
    "evaluator/evaluations/crud.py": [{"gate"}, {"candidate"}, {"gate", "candidate"}],
    "feedback/application/erase_end_user.py": [{"end_user"}, {"asked_by"}],
    "feedback/application/record_correction.py": [{"rule.deployment"}],
    "feedback/application/read_feedback.py": [{"inference"}, {"deployment"}, {"inference", "deployment"}],
    "feedback/application/reconcile_curation.py": [{"deployment", "metric"}],
    "inference/generation/erase_end_user.py": [{"end_user"}],
    "inference/generation/grpc.py": [{"deployment"}],
    "ingest/datasets/crud.py": [{"state"}],
    "ingest/documents/crud.py": [{"source"}, {"state"}, {"source", "state"}],
    "trainer/training/runs.py": [{"plan"}],
    "trainer/training/start_runs_for_dataset_version.py": [{"dataset"}],
}
"""By module that lists with `where`: the sets of fields that it may filter by. A new one is named here."""


def test_every_module_that_lists_by_a_filter_is_known_here() -> None:
    assert {module for module, _ in _calls("list", "where")} == set(FILTERS)


@pytest.mark.parametrize("module", FILTERS)
def test_what_it_filters_by_is_declared_by_a_store_of_its_service(module: str) -> None:
    service = module.partition("/")[0]
    declared = [
        fields
        for function in ("MongoAggregates", "aggregates")
        for other, value in _calls(function, "lists")
        if other.startswith(f"{service}/")
        for fields in _sets(value, other)
    ]
    assert [fields for fields in FILTERS[module] if fields not in declared] == []


def _calls(function: str, keyword: str) -> Iterator[tuple[str, ast.expr]]:
    """Yield where a function is called with a keyword, and what that is given."""
    for path in sorted(ROOT.glob("services/*/src/*/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _name(node.func) == function:
                module = f"{path.parts[len(ROOT.parts) + 1]}/{'/'.join(path.parts[len(ROOT.parts) + 4 :])}"
                yield from ((module, each.value) for each in node.keywords if each.arg == keyword)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _sets(value: ast.expr, module: str) -> list[set[str]]:
    if isinstance(value, ast.Name):  # a constant of the module
        service, _, rest = module.partition("/")
        tree = ast.parse((ROOT / "services" / service / "src" / f"tidemill_{service}" / rest).read_text())
        assigned = (node for node in tree.body if isinstance(node, ast.Assign))
        value = next(node.value for node in assigned if _name(node.targets[0]) == value.id)
    return [set(fields) for fields in ast.literal_eval(value)]
