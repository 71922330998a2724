"""Only entry points know who calls from their surroundings; everything behind them is given its `Caller`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _is_entry_point(path: Path) -> bool:
    return path.stem.startswith(("grpc", "http"))


def test_use_cases_and_adapters_do_not_ask_who_calls() -> None:
    sources = [*ROOT.glob("services/*/src/**/*.py")]
    asking = [path for path in sources if "current_caller" in path.read_text(encoding="utf-8")]

    assert asking
    assert [str(path.relative_to(ROOT)) for path in asking if not _is_entry_point(path)] == []
