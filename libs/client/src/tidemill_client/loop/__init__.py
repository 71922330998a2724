"""A loop as its owner declares it: read, checked as a whole, compared with what runs, and applied."""

from tidemill_client.loop.declaration import Loop
from tidemill_client.loop.problems import LoopErrors, Problem
from tidemill_client.loop.reader import read_loop

__all__ = ["Loop", "LoopErrors", "Problem", "read_loop"]
