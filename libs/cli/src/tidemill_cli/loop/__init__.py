"""Declarative loops: read, validate, diff and apply `loop.yaml`."""

from tidemill_cli.loop.declaration import Loop
from tidemill_cli.loop.problems import LoopErrors, Problem
from tidemill_cli.loop.reader import read_loop

__all__ = ["Loop", "LoopErrors", "Problem", "read_loop"]
