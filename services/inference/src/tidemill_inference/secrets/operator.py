"""The operator's keys for remote models: of a project, for hosts; from the environment or a folder of files.

The operator gives a key its hosts (scheme, host, port), and it is sent nowhere else, whatever a project asks for.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import structlog
from pydantic import SecretStr

from tidemill_core.grpc.context import PROJECT_SLUG
from tidemill_core.origins import Origin
from tidemill_inference.errors import SecretMissing

PREFIX = "INFERENCE_SECRET_"
HOSTS = "HOSTS"
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
_log = structlog.get_logger(__name__)


class OperatorSecrets:
    """Looks a secret and its hosts up each time it is needed, so that a changed one counts at the next request."""

    def __init__(self, environment: Mapping[str, str], folder: Path | None) -> None:
        self._environment = environment
        self._folder = folder
        for name in environment:
            if name.startswith(PREFIX) and "__" not in name:
                _log.warning("secret_without_project_ignored", variable=name)

    def key_for(self, project: str, name: str, *, origin: Origin) -> SecretStr:
        """Return a project's secret for a host.

        Raises:
            SecretMissing: the project has none of this name, or none for this host; it does not say which.

        """
        found = self._found(project, name)
        if found is None or origin not in _origins(found[1], variable=f"{project}/{name}"):
            raise SecretMissing(name, project=project, origin=str(origin), variable=self.variable(project, name))
        return SecretStr(found[0])

    def has(self, project: str, name: str) -> bool:
        """See `Operators.has`."""
        return self._found(project, name) is not None

    def variable(self, project: str, name: str) -> str:
        """Return the variable of a secret; "" where its name could be read as another project's secret too."""
        return _variable(project, name)

    def _found(self, project: str, name: str) -> tuple[str, str] | None:
        """Return a secret and the text that lists its hosts."""
        if not _NAME.fullmatch(name) or not PROJECT_SLUG.fullmatch(project):
            return None
        variable = _variable(project, name)
        if variable and (value := self._environment.get(variable, "").strip()):
            return value, self._environment.get(f"{variable}__{HOSTS}", "")
        if self._folder is None:
            return None
        value, hosts = (_text_of(self._folder / project / each) for each in (name, f"{name}.hosts"))
        return (value, hosts) if value else None


def _variable(project: str, name: str) -> str:
    """Return the variable of a secret; "" where its name could be read as another project's secret too."""
    if "--" in project or "__" in name or name.endswith("_"):
        return ""
    return f"{PREFIX}{project.replace('-', '_').upper()}__{name}"


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
