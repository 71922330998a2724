import ast
from pathlib import Path

import pytest

SERVICES = Path(__file__).resolve().parents[2] / "services"
MAINS = sorted(SERVICES.glob("*/src/*/__main__.py"))


@pytest.mark.parametrize("main", MAINS, ids=lambda main: main.parent.name)
def test_a_service_leaves_out_unused_libraries_before_it_imports_any_other(main: Path) -> None:
    imports = [each for each in ast.walk(ast.parse(main.read_text("utf-8"))) if isinstance(each, ast.Import)]
    others = [each for each in ast.walk(ast.parse(main.read_text("utf-8"))) if isinstance(each, ast.ImportFrom)]
    first = [each.lineno for each in imports if each.names[0].name == "tidemill_kit.runtime.unused_libraries"]

    assert first
    assert first[0] < min(each.lineno for each in others)


def test_every_service_has_a_main() -> None:
    assert len(MAINS) == len([each for each in SERVICES.iterdir() if (each / "pyproject.toml").exists()])
