"""Reads what programs print, as it comes."""

import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, without its end, and the program that printed it."""

    program: str
    text: str


def read(files: Mapping[str, Path], *, follow: bool, lines: int) -> Iterator[LogLine]:
    """Yield the last lines of each file and, if asked to follow, for ever the coming ones of all."""
    open_files: dict[str, TextIO] = {}
    try:
        for program, path in files.items():
            if path.exists():
                open_files[program] = path.open(encoding="utf-8", errors="replace")
                for text in deque(open_files[program], maxlen=lines):
                    yield LogLine(program, text.rstrip("\n"))
        while follow:
            yield from _fresh(files, open_files)
            time.sleep(POLL_S)
    finally:
        for file in open_files.values():
            file.close()


def _fresh(files: Mapping[str, Path], open_files: dict[str, TextIO]) -> Iterator[LogLine]:
    """Yield the lines that came since the last call, also from a file that was rotated or is new."""
    for program, path in files.items():
        file = open_files.get(program)
        if file is not None:
            yield from (LogLine(program, text.rstrip("\n")) for text in file)
        if not path.exists():
            continue
        if file is None or _was_replaced(file, path):
            if file is not None:
                file.close()
            open_files[program] = path.open(encoding="utf-8", errors="replace")


def _was_replaced(file: TextIO, path: Path) -> bool:
    return os.fstat(file.fileno()).st_ino != path.stat().st_ino
