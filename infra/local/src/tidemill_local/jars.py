"""Fetches the jars of Kafka and of the MongoDB-protocol server, and takes none but the pinned ones.

jars.txt names each jar with its sha256 and size: "<set> <group>:<artifact>:<version> <sha256> <bytes>".
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill_local.errors import JarRefused

if TYPE_CHECKING:
    from jgo.maven import MavenContext

PINS = Path(__file__).with_name("jars.txt")
STAMP = "complete"
FETCH_TIMEOUT_S = 60
MAX_CONCURRENT_FETCHES = 12
"""Each waits for answers longer than for its bytes."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar; `set` names the classpath it belongs to."""

    set: str
    coordinates: str
    sha256: str
    size: int

    @property
    def file_name(self) -> str:
        """The name of the file in its set's folder."""
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"


def pinned() -> list[Jar]:
    """Return every jar of the committed list."""
    rows = (line.split() for line in PINS.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return [Jar(name, coordinates, digest, int(size)) for name, coordinates, digest, size in rows]


def is_complete(folder: Path) -> bool:
    """Return whether the folder has the jars of the committed list."""
    stamp = folder / STAMP
    return stamp.exists() and stamp.read_text(encoding="utf-8") == _list_digest()


def ensure(
    folder: Path,
    progress: Callable[[str], None] = lambda _: None,
    *,
    local_repositories: list[Path] | None = None,
    remote_repositories: dict[str, str] | None = None,
) -> None:
    """Fetch what is missing and check every jar; nothing is downloaded when all are there.

    Jars come from Maven Central unless repositories are given: folders, and name -> address.

    Raises:
        JarRefused: a jar could not be fetched or has another sha256.
    """
    if is_complete(folder):
        return
    jars = pinned()
    progress(f"Fetching {len(jars)} jars, {sum(jar.size for jar in jars) // 1_000_000} MB")
    folder.mkdir(parents=True, exist_ok=True)
    from jgo.maven import MavenContext  # noqa: PLC0415 - a second's import that only the first start needs

    with (
        tempfile.TemporaryDirectory(dir=folder) as cache,
        ThreadPoolExecutor(max_workers=MAX_CONCURRENT_FETCHES) as pool,
    ):
        maven = MavenContext(
            repo_cache=Path(cache),
            local_repos=local_repositories,
            remote_repos=remote_repositories,
            timeout=FETCH_TIMEOUT_S,
        )
        list(pool.map(lambda jar: _fetch(jar, folder, maven), jars))
    (folder / STAMP).write_text(_list_digest(), encoding="utf-8")


def classpath(folder: Path, name: str) -> str:
    """Return the class path of one set, pinned jars only."""
    return ":".join(str(folder / name / jar.file_name) for jar in pinned() if jar.set == name)


def _fetch(jar: Jar, folder: Path, maven: "MavenContext") -> None:
    target = folder / jar.set / jar.file_name
    if target.exists() and _digest(target) == jar.sha256:
        return
    group, artifact, version = jar.coordinates.split(":")
    try:
        source = maven.project(group, artifact).at_version(version).artifact("", "jar").resolve()
    except Exception as error:  # jgo lets errors of several libraries through; each means that the jar is not here
        message = f"{jar.coordinates} could not be fetched ({error}): check the network and run it again."
        raise JarRefused(message) from error
    if (digest := _digest(source)) != jar.sha256:
        message = f"{jar.coordinates} has sha256 {digest} instead of {jar.sha256}: do not run it, and report it."
        raise JarRefused(message)
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, target)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _list_digest() -> str:
    return _digest(PINS)
