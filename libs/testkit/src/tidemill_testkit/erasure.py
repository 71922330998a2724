"""What a service stores, against what its erasure of a project covers: nothing new may be left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tidemill_kit.audit.trail import COLLECTION as AUDIT
from tidemill_kit.erasure.erasures import COLLECTION as ERASURES
from tidemill_kit.erasure.erasures import LEASES
from tidemill_kit.erasure.steps import Scope, Steps
from tidemill_kit.runtime.settings import ServiceSettings
from tidemill_kit.service.backend import Backend
from tidemill_testkit.built import build

OF_THE_KIT = frozenset({AUDIT, ERASURES, LEASES})
"""The audit trail and the record of erasures stay; leases of erasures expire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Collections, `bucket:<name>` and `folder:<setting>` of one service, and those that its steps cover."""

    places: frozenset[str]
    covered: frozenset[str]

    def not_covered(self, *, kept: Mapping[str, str]) -> set[str]:
        """Return the places that no step covers and that are not `kept` for a reason, and what `kept` names wrongly."""
        wrong = {name for name, why in kept.items() if name not in self.places or name in self.covered or not why}
        return {*(self.places - self.covered - kept.keys()), *wrong}


async def stored_by(service: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    """Build a service, without starting it, and return what it stores. Places are recorded where they are named.

    Every setting that ends with `_bucket` is a bucket, and each with a folder of its own (`data_dir`) a folder.
    """
    collections, steps, leases = set[str](), list[Steps](), set[str]()
    init, app, leased = Backend.__init__, Backend.app, Backend.leases

    def recorded_init(backend: Backend, *args: Any, **options: Any) -> None:  # noqa: ANN401 - handed on
        init(backend, *args, **options)
        backend.database = _Recorded(backend.database, collections)  # type: ignore[assignment] # as far as it is used

    def recorded_app(backend: Backend, **options: Any) -> Any:  # noqa: ANN401 - handed on
        steps.append(options["erasures"])
        return app(backend, **options)

    def recorded_leases(backend: Backend, name: str, *, removable: bool = True) -> Any:  # noqa: ANN401 - handed on
        leases.update({name} if removable else ())
        return leased(backend, name, removable=removable)

    monkeypatch.setattr(Backend, "__init__", recorded_init)
    monkeypatch.setattr(Backend, "app", recorded_app)
    monkeypatch.setattr(Backend, "leases", recorded_leases)
    settings = await build(service, folder)
    fields = set(type(settings).model_fields) - set(ServiceSettings.model_fields)
    buckets = {f"bucket:{getattr(settings, name)}" for name in fields if name.endswith("_bucket")}
    folders = {f"folder:{name}" for name in fields if isinstance(getattr(settings, name), Path)}
    return Stored(
        places=frozenset((collections - OF_THE_KIT) | buckets | folders),
        covered=frozenset(name for each in steps[0].get(Scope.PROJECT, ()) for name in each.covers) | leases,
    )


class _Recorded:
    """A database that remembers which collections were named."""

    def __init__(self, database: Any, names: set[str]) -> None:  # noqa: ANN401 - handed on
        self._database = database
        self._names = names

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - handed on
        self._names.add(name)
        return self._database[name]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - handed on
        return getattr(self._database, name)
