"""Tokenizers that projects chose, in processes of their own: bounded in processor, memory and time, a share a project.

The work is a function of a module that takes the tokenizer first. A process reads a tokenizer's file once and keeps the
last few. A service that uses this declares `pebble` and `tokenizers`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from cachetools import LRUCache

from tidemill_core.errors import Blame, DependencyUnavailable, InvalidInput
from tidemill_kit.workers.bounded_processes import WorkEndedError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

R = TypeVar("R")
KEPT = 4
"""Tokenizers that a process keeps: one with a vocabulary of 64 MiB takes several hundred."""
IMPORTS = ("tokenizers",)
"""What the work needs, for its processes."""
_kept: "LRUCache[Path, Tokenizer]" = LRUCache(KEPT)
"""Of this process, by a file that never changes."""


class Processes(Protocol):
    """What `BoundedProcesses` does."""

    async def run(self, project: str, work: Callable[..., R], *arguments: object) -> R:
        """Return what the work returns."""
        ...


class BoundedTokenizers:
    """Runs work with a tokenizer of a file; make the processes with `IMPORTS`."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    async def run(self, project: str, file: Path, work: Callable[..., R], *arguments: object, name: str) -> R:
        """Return what `work(tokenizer, *arguments)` returns; `name` is the model's, for errors.

        Raises:
            InvalidInput: the tokenizer fails on these texts, or takes too much of them.
            DependencyUnavailable: the machine is to blame.
            RateLimited: too much of the project's work waits already.

        """
        try:
            return await self._processes.run(project, with_tokenizer, file, work, *arguments)
        except WorkEndedError as ended:
            message = f"the tokenizer of {name} {ended.why} on this text: shorten it, or use another model"
            if ended.cause == "wall":
                raise DependencyUnavailable(message, dependency="tokenizers", blame=Blame.VARIANT) from ended
            raise InvalidInput(message, model=name) from ended


def with_tokenizer(file: Path, work: Callable[..., R], *arguments: object) -> R:
    """Return what the work returns, in the process that calls it."""
    return work(_tokenizer(file), *arguments)


def _tokenizer(file: Path) -> "Tokenizer":
    from tokenizers import Tokenizer  # noqa: PLC0415 - in this process only

    if file not in _kept:
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        _kept[file] = tokenizer
    return _kept[file]
