"""The program of a child process that runs an answer's code with its case's tests, and can do nothing else.

It is run by its path, without packages. Before any of that code runs, the process gives up all system calls but those
of computing: it can open no file, make no connection, start no process or thread, and sleep no second. Its input is the
length of a JSON object, that object, and a word. It says one of `READY`, `NOT_ISOLATED` and `UNUSABLE_TESTS` before any
of that code runs, and the word once all tests have passed: how it exits says nothing.
"""

import ast
import codecs
import ctypes
import json
import os
import platform
import resource
import signal
import sys
from typing import NoReturn

READY, NOT_ISOLATED, UNUSABLE_TESTS = b"R", b"N", b"U"
"""What it says first: the code runs now, or does not, as the kernel cannot isolate it, or the tests are no
Python or import what there is not."""
MODULES = (
    *("__future__", "_strptime", "abc", "argparse", "array", "ast", "base64", "binascii", "bisect", "bz2"),
    *("calendar", "cmath", "codecs", "collections", "collections.abc", "colorsys", "configparser", "contextlib"),
    *("contextvars", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib", "enum", "errno", "fnmatch"),
    *("fractions", "functools", "glob", "graphlib", "gzip", "hashlib", "heapq", "hmac", "html", "html.parser"),
    *("inspect", "io", "ipaddress", "itertools", "json", "keyword", "linecache", "locale", "logging", "lzma", "math"),
    *("numbers", "operator", "os", "os.path", "pathlib", "pickle", "platform", "pprint", "queue", "random", "re"),
    *("reprlib", "secrets", "shlex", "signal", "statistics", "string", "stringprep", "struct", "sys", "tempfile"),
    *("textwrap", "threading", "time", "timeit", "tokenize", "tomllib", "traceback", "types", "typing"),
    *("unicodedata", "unittest", "urllib.parse", "uuid", "warnings", "weakref", "xml.etree.ElementTree"),
    *("zlib", "zoneinfo"),
)
"""What the code can import, and what these load when they are called: no file can be opened later."""
ENCODINGS = (
    *("ascii", "latin-1", "utf-7", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"),
    *("utf-32-be", "cp437", "cp850", "cp1250", "cp1251", "cp1252", "iso8859-2", "iso8859-15", "koi8-r", "mac-roman"),
    *("shift_jis", "euc_jp", "gbk", "gb18030", "big5", "euc_kr", "idna", "punycode", "unicode_escape"),
    *("raw_unicode_escape", "rot_13", "hex", "base64"),
)
"""What texts can be encoded in."""
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_FILTER = 2
_ALLOWED = {
    # read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn mremap madvise
    # getpid gettimeofday sigaltstack gettid futex restart_syscall clock_gettime clock_getres exit exit_group getrandom
    "x86_64": (
        0xC000003E,
        *(0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 25, 28),
        *(39, 96, 131, 186, 202, 219, 228, 229, 60, 231, 318),
    ),
    "aarch64": (
        0xC00000B7,
        *(63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 216, 233),
        *(172, 169, 132, 178, 98, 128, 113, 114, 93, 94, 278),
    ),
}
"""The architecture, as the kernel's audit calls it, and the numbers of the system calls that are left."""


class _Instruction(ctypes.Structure):
    """Of a filter of system calls, as linux/filter.h has it."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """A filter, as the kernel takes it."""

    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def main() -> None:
    """Run what is asked for; see the module."""
    asked = json.loads(_read(int(_read(10))))
    for name in MODULES:
        __import__(name)
    for name in ENCODINGS:
        codecs.lookup(name)
    given_by, said_to = _set_apart()
    _limit(asked["cpu_s"], asked["memory_bytes"])
    if not isolate():
        _end(said_to, NOT_ISOLATED)
    try:
        parsed = ast.parse(asked["tests"])
        tests = compile(parsed, "tests", "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        _end(said_to, UNUSABLE_TESTS)
    if not _imported(parsed) <= sys.modules.keys():
        _end(said_to, UNUSABLE_TESTS)
    os.write(said_to, READY)
    names: dict[str, object] = {"__name__": "answer"}
    exec(compile(asked["code"], "answer", "exec"), names)  # noqa: S102 - what it is for
    exec(tests, names)  # noqa: S102 - ditto
    _end(said_to, os.read(given_by, 64))


def _imported(tests: ast.Module) -> set[str]:
    """Return the modules that tests import whatever the code does; nothing is imported by this."""
    names = set[str]()
    for step in tests.body:
        if isinstance(step, ast.Import):
            names |= {alias.name for alias in step.names}
        elif isinstance(step, ast.ImportFrom):
            names.add(step.module or "")
    return names


def _set_apart() -> tuple[int, int]:
    """Return descriptors of the input and output, in whose places the code has an empty input, and prints nowhere."""
    apart = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for place in range(3):
        os.dup2(nowhere, place)
    return apart


def _end(said_to: int, said: bytes) -> NoReturn:
    os.write(said_to, said)
    os._exit(0)


def _read(length: int) -> bytes:
    found = b""
    while len(found) < length:
        some = os.read(0, length - len(found))
        if not some:
            os._exit(1)
        found += some
    return found


def _limit(cpu_s: int, memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def isolate() -> bool:
    """Give up all system calls but those of computing; return False where the kernel cannot do that."""
    if not sys.platform.startswith("linux") or platform.machine() not in _ALLOWED:
        return False
    architecture, *calls = _ALLOWED[platform.machine()]
    allowed = [(0x15, len(calls) - place, 0, number) for place, number in enumerate(calls)]
    steps = [
        (0x20, 0, 0, 4),  # the architecture
        (0x15, 1, 0, architecture),
        (0x06, 0, 0, 0x80000000),  # end the process
        (0x20, 0, 0, 0),  # the number of the call
        *allowed,
        (0x06, 0, 0, 0x00050000 | 1),  # EPERM
        (0x06, 0, 0, 0x7FFF0000),  # allow
    ]
    program = _Program(len(steps), (_Instruction * len(steps))(*(_Instruction(*step) for step in steps)))
    control = ctypes.CDLL(None).prctl
    done = (
        control(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),
        control(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        control(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0),
    )
    return not any(done)


if __name__ == "__main__":
    main()
