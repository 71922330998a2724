"""Declarative loops: read, validate, diff and apply `loop.yaml`."""

from tidemill_client.loop.declaration import Loop
from tidemill_client.loop.problems import LoopErrors, Problem
from tidemill_client.loop.reader import read_loop

__all__ = ["Loop", "LoopErrors", "Problem", "read_loop"]
