"""What can stop the stack; every message is one sentence that says what to do next.

StackError
├── PortTaken
├── DiskFull
├── Unsupported
├── JarRefused
└── NotReady
"""


class StackError(Exception):
    """The stack cannot do what was asked."""


class PortTaken(StackError):
    """A requested port is used by another process."""


class DiskFull(StackError):
    """There is too little disk space to start."""


class Unsupported(StackError):
    """This machine or Python cannot run the embedded stack."""


class JarRefused(StackError):
    """A jar could not be fetched, or is not the one that was pinned."""


class NotReady(StackError):
    """A program did not become ready."""
