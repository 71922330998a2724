"""Fingerprints in memory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tidemill_ingest.documents.domain.fingerprints import StoredFingerprint
from tidemill_ingest.quality.fingerprint import Fingerprint


@dataclass
class FingerprintsHere:
    """Implements `ports.Fingerprints`."""

    records: dict[tuple[str, str], StoredFingerprint] = field(default_factory=dict)
    by_key: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    checks: dict[tuple[str, str], tuple[datetime, int]] = field(default_factory=dict)

    async def near(self, project: str, fingerprint: Fingerprint, *, but: str) -> Sequence[StoredFingerprint]:
        shared = Counter(name for key in fingerprint.keys for name in self.by_key.get((project, key), ()))
        found = [self.records[project, name] for name, _ in shared.most_common()]
        return [each for each in found if each.document != but][:32]

    async def of_document(self, project: str, document: str) -> Sequence[StoredFingerprint]:
        return [each for (of, _), each in sorted(self.records.items()) if (of, each.document) == (project, document)]

    async def known(self, project: str, document: str) -> bool:
        return bool(await self.of_document(project, document) or await self.duplicates_of(project, document))

    async def put(self, project: str, stored: StoredFingerprint) -> None:
        self.records[project, stored.name] = stored
        for key in stored.fingerprint.keys:
            names = self.by_key.setdefault((project, key), set())
            (names.discard if stored.original else names.add)(stored.name)

    async def remove(self, project: str, stored: StoredFingerprint) -> None:
        self.records.pop((project, stored.name), None)
        for key in stored.fingerprint.keys:
            self.by_key.get((project, key), set()).discard(stored.name)

    async def duplicates_of(self, project: str, document: str, *, after: str = "") -> Sequence[str]:
        lead = {each.document for (of, _), each in self.records.items() if (of, each.original) == (project, document)}
        return sorted(name for name in lead if name > after)[:2]

    async def check(self, project: str, documents: Sequence[str], *, due: datetime) -> None:
        for each in documents:
            before, asked = self.checks.get((project, each), (due, 0))
            self.checks[project, each] = (min(before, due), asked + 1)

    async def asked(self, project: str, document: str) -> int:
        return self.checks[project, document][1] if (project, document) in self.checks else 0

    async def checked(self, project: str, document: str, *, asked: int, again: datetime | None) -> None:
        if await self.asked(project, document) != asked:
            return
        self.checks.pop((project, document), None)
        if again is not None:
            self.checks[project, document] = (again, asked)
