import re
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from libs.client.tests.sdk.fakes import FakeTidemill

README = Path(__file__).parents[2] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def program(example: str) -> Callable[[], Awaitable[None]]:
    """Return the example as a coroutine function."""
    names: dict[str, Any] = {}
    body = textwrap.indent(example, "    ")
    exec(compile(f"async def shown():\n{body}", str(README), "exec"), names)  # noqa: S102 - our own README
    shown: Callable[[], Awaitable[None]] = names["shown"]
    return shown


@pytest.fixture
def desk(services: FakeTidemill, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that the examples are run in: their files are there, and the services are found."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reset.md").write_text("# Reset a password")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "long.md").write_text("too long for this service")
    (tmp_path / "models").mkdir()
    folder.rename(tmp_path / "models" / "smollm2")
    services.ingest.limit = 20
    for name, port in services.ports.items():
        monkeypatch.setenv(f"TIDEMILL_{name.upper()}_ADDRESS", f"127.0.0.1:{port}")
    return tmp_path


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
async def test_what_the_readme_shows_works(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    await program(example)()

    assert capsys.readouterr().out
