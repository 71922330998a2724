"""Size limits of versions."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.models.manifest import max_json_bytes
from tidemill_trainer.errors import LimitExceeded


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportLimits:
    """Limits of one version: number of files and bytes."""

    files: int = 500
    file_bytes: int = 16 * 1024**3
    total_bytes: int = 64 * 1024**3
    json_bytes: int = 64 * 1024**2
    """JSON is parsed whole; except for vocabularies the limit is `manifest.max_json_bytes`."""

    def check(self, sizes: Sequence[tuple[str, int]], *, field: str) -> None:
        """Check number, sizes and total size of files given as (path, size).

        Raises:
            LimitExceeded: names the field, the value and the limit.

        """
        if len(sizes) > self.files:
            raise LimitExceeded(field=field, value=len(sizes), limit=self.files, what="the number of files")
        for path, size in sizes:
            limit = self.file_bytes
            if path.endswith(".json"):
                limit = min(limit, self.json_bytes, max_json_bytes(path))
            if size > limit:
                raise LimitExceeded(field=field, value=size, limit=limit, what=f"the size of {path} in bytes")
        total = sum(size for _, size in sizes)
        if total > self.total_bytes:
            raise LimitExceeded(field=field, value=total, limit=self.total_bytes, what="the size of all files in bytes")
