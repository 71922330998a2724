"""Secrets that the operator gives to projects, each for its hosts: from the environment, or a folder of files.

A secret is sent to its hosts (scheme, host, port) and nowhere else, whatever a project asks for.
"""

import asyncio
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import SecretStr

from tidemill_core.grpc.context import PROJECT_SLUG
from tidemill_core.origins import Origin

HOSTS = "HOSTS"
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OperatorSecret:
    """A value, and where it may be sent."""

    value: SecretStr
    origins: frozenset[Origin]


class OperatorSecrets:
    """Looks a secret and its hosts up each time it is needed, so that a changed one counts at the next request.

    The variable of a secret is `<prefix><PROJECT>__<NAME>`, its hosts are in `<variable>__HOSTS`; in the folder they
    are the files `<project>/<NAME>` and `<project>/<NAME>.hosts`.
    """

    def __init__(self, prefix: str, environment: Mapping[str, str], folder: Path | None) -> None:
        self._prefix = prefix
        self._environment = environment
        self._folder = folder
        for name in environment:
            if name.startswith(prefix) and "__" not in name:
                _log.warning("secret_without_project_ignored", variable=name)

    async def find(self, project: str, name: str) -> OperatorSecret | None:
        """Return a project's secret; None where there is none of this name."""
        found = self._of_environment(project, name) or await self._of_folder(project, name)
        if found is None:
            return None
        return OperatorSecret(SecretStr(found[0]), _origins(found[1], variable=f"{project}/{name}"))

    async def among(self, project: str, names: Collection[str]) -> frozenset[str]:
        """Return which of these names there are for the project."""
        return frozenset(
            [each for each in names if self._of_environment(project, each) or await self._of_folder(project, each)]
        )

    def variable(self, project: str, name: str) -> str:
        """Return the variable of a secret; "" where its name could be read as another project's secret too."""
        if "--" in project or "__" in name or name.endswith("_"):
            return ""
        return f"{self._prefix}{project.replace('-', '_').upper()}__{name}"

    def _of_environment(self, project: str, name: str) -> tuple[str, str] | None:
        """Return a secret and the text that lists its hosts."""
        if not _may_be_named(project, name):
            return None
        variable = self.variable(project, name)
        value = self._environment.get(variable, "").strip() if variable else ""
        return (value, self._environment.get(f"{variable}__{HOSTS}", "")) if value else None

    async def _of_folder(self, project: str, name: str) -> tuple[str, str] | None:
        folder = self._folder
        if folder is None or not _may_be_named(project, name):
            return None

        def read() -> tuple[str, str]:
            return _text_of(folder / project / name), _text_of(folder / project / f"{name}.hosts")

        found = await asyncio.to_thread(read)
        return found if found[0] else None


def _may_be_named(project: str, name: str) -> bool:
    return bool(_NAME.fullmatch(name) and PROJECT_SLUG.fullmatch(project))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _origins(text: str, *, variable: str) -> frozenset[Origin]:
    """Return the hosts of a secret, split by blanks, commas or lines; one without a scheme is meant by https."""
    found = set()
    for entry in text.replace(",", " ").split():
        try:
            found.add(Origin.of(entry if "://" in entry else f"https://{entry}"))
        except ValueError as error:
            _log.warning("secret_host_unreadable", secret=variable, why=str(error))
    return frozenset(found)
