"""Stands in for the CUDA libraries that PyTorch's wheel is linked against, on machines without an NVIDIA GPU.

PyPI's Linux wheels of PyTorch are built for CUDA: they cannot be imported without a dozen NVIDIA libraries (2.7 GB,
under a proprietary licence), of which nothing is ever called where there is no GPU.

    python infra/no_cuda.py lock FILE         print a lock without those packages
    python infra/no_cuda.py libraries FOLDER  write a small shared library for each into FOLDER, PyTorch's own torch/lib

Such a library has the name, the symbol versions and the functions that PyTorch's libraries ask for. Every function
returns the error code that the CUDA runtime returns where no driver is installed, or a description where its result is
a text: `torch.cuda.is_available()` is false, and asking for a GPU raises PyTorch's own error.

Sources: System V ABI, chapter "Object files" (ELF-64); Linux Standard Base Core 5.0, chapter "Symbol Versioning".
Standard library only.
"""

from __future__ import annotations

import re
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INSUFFICIENT_DRIVER = 35
"""cudaErrorInsufficientDriver, the runtime's answer where there is no driver."""
DESCRIPTION = b"no NVIDIA driver"
RETURN_ERROR = {
    62: b"\xb8" + struct.pack("<I", INSUFFICIENT_DRIVER) + b"\xc3",  # x86-64: mov eax, 35; ret
    183: struct.pack("<II", 0x52800000 | INSUFFICIENT_DRIVER << 5, 0xD65F03C0),  # AArch64: mov w0, #35; ret
}
"""The code of most functions, by the machine number of ELF; 16 bytes are kept for it."""
RETURN_DESCRIPTION = {
    62: b"\x48\x8d\x05" + struct.pack("<i", 9) + b"\xc3",  # x86-64: lea rax, [rip + 9]; ret
    183: struct.pack("<II", 0x10000000 | 16 << 3, 0xD65F03C0),  # AArch64: adr x0, #16; ret
}
"""The code of functions that return a text; 16 bytes are kept for it, and the text follows."""
TEXT_FUNCTION = re.compile(
    r"(cuda|cublas|cudnn|cufft|cusolver|cusparse|nccl|nvrtc)Get\w*(String|Name)|ncclGetLastError"
)
PACKAGE = re.compile(r"(nvidia-|cuda-|triton==)")
"""The packages of a lock that only a GPU needs."""
LIBRARY = re.compile(r"lib(cu|nv|nccl)\w*\.so\.\d+")
DRIVER = "libcuda.so.1"
"""Belongs to the driver, and is opened by PyTorch only where it is there."""
FUNCTION = re.compile(r"(__cuda|cuda|cupti|cublas|cudnn|cufft|cuFile|curand|cusolver|cusparse|nccl|nvrtc|nvshmem)\w*")
ANY_OWNER = "libcudart.so"
"""The stand-in that gets functions without a version: the loader finds those in any library."""

SHT_DYNAMIC, SHT_DYNSYM, SHT_VERNEED, SHT_VERSYM = 6, 11, 0x6FFFFFFE, 0x6FFFFFFF
DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_SONAME = 1, 4, 5, 6, 10, 11, 14
DT_VERSYM, DT_VERDEF, DT_VERDEFNUM = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD
PT_LOAD, PT_DYNAMIC, PT_GNU_STACK = 1, 2, 0x6474E551
READ, WRITE, EXECUTE = 4, 2, 1
GLOBAL_FUNCTION = 0x12
PAGE = 0x10000
"""The largest page of the machines above."""


@dataclass(frozen=True)
class Requirement:
    """A function that a library does not have itself; owner and version are empty where it names none."""

    name: str
    owner: str
    version: str


@dataclass
class Library:
    """One shared library to write: its functions with their versions."""

    name: str
    machine: int
    functions: dict[str, str] = field(default_factory=dict)


class Elf:
    """The dynamic part of one shared library, as the loader reads it."""

    def __init__(self, data: bytes) -> None:
        """Read the section headers.

        Raises:
            ValueError: it is not a little-endian ELF-64 file.

        """
        if data[:6] != b"\x7fELF\x02\x01":
            message = "not a little-endian ELF-64 file"
            raise ValueError(message)
        self._data = data
        (self.machine,) = struct.unpack_from("<H", data, 18)
        (first,) = struct.unpack_from("<Q", data, 40)
        size, count = struct.unpack_from("<HH", data, 58)
        self._sections = [struct.unpack_from("<IIQQQQIIQQ", data, first + size * each) for each in range(count)]

    def needed(self) -> Iterator[str]:
        """Yield the names of the libraries that it is linked against."""
        for tag, value in struct.iter_unpack("<qQ", self._content(SHT_DYNAMIC)):
            if tag == DT_NEEDED:
                yield self._string(value)

    def undefined(self) -> Iterator[Requirement]:
        """Yield the symbols that other libraries have to bring."""
        indices = [index for (index,) in struct.iter_unpack("<H", self._content(SHT_VERSYM))]
        versions = dict(self._versions())
        for number, symbol in enumerate(struct.iter_unpack("<IBBHQQ", self._content(SHT_DYNSYM))):
            name, _, _, section, _, _ = symbol
            if name and not section:
                owner, version = versions.get(indices[number] & 0x7FFF if indices else 0, ("", ""))
                yield Requirement(self._string(name), owner, version)

    def _versions(self) -> Iterator[tuple[int, tuple[str, str]]]:
        """Yield each needed version's index with its library and name."""
        needs, at = self._content(SHT_VERNEED), 0
        while needs:
            _, count, library, auxiliary, following = struct.unpack_from("<HHIII", needs, at)
            place = at + auxiliary
            for _ in range(count):
                _, _, index, name, further = struct.unpack_from("<IHHII", needs, place)
                yield index & 0x7FFF, (self._string(library), self._string(name))
                place += further
            if not following:
                return
            at += following

    def _content(self, kind: int) -> bytes:
        section = next((each for each in self._sections if each[1] == kind), None)
        return self._data[section[4] : section[4] + section[5]] if section else b""

    def _string(self, offset: int) -> str:
        symbols = next(each for each in self._sections if each[1] == SHT_DYNSYM)
        start = self._sections[symbols[6]][4] + offset
        return self._data[start : self._data.index(b"\0", start)].decode()


def without_cuda(lock: str) -> str:
    """Return a lock without the packages that only a GPU needs, each with the lines that go on from it."""
    kept, drops = [], False
    for line in lock.splitlines():
        drops = bool(PACKAGE.match(line)) or (drops and line.startswith(" "))
        if not drops:
            kept.append(line)
    return "\n".join(kept) + "\n"


def stand_ins(files: Iterable[Path]) -> list[Library]:
    """Return what the given libraries of PyTorch need of CUDA."""
    libraries: dict[str, Library] = {}
    requirements: set[Requirement] = set()
    for file in files:
        elf = Elf(file.read_bytes())
        for name in elf.needed():
            if LIBRARY.fullmatch(name) and name != DRIVER:
                libraries.setdefault(name, Library(name, elf.machine))
        requirements.update(elf.undefined())
    anywhere = next((each for each in libraries.values() if each.name.startswith(ANY_OWNER)), None)
    for each in sorted(requirements, key=lambda one: one.name):
        library = libraries.get(each.owner) if each.owner else anywhere
        if library and (each.owner or FUNCTION.fullmatch(each.name)):
            library.functions.setdefault(each.name, each.version)
    return list(libraries.values())


def shared_library(library: Library) -> bytes:
    """Return a shared library whose functions all return the error code of a machine without a driver."""
    names = sorted(library.functions)
    versions = sorted(set(library.functions.values()) - {""})
    strings = b"\0"
    at: dict[str, int] = {}
    for text in dict.fromkeys([library.name, *versions, *names]):
        at[text] = len(strings)
        strings += text.encode() + b"\0"
    first = 64 + 4 * 56  # the headers come before it
    code = RETURN_ERROR[library.machine].ljust(16, b"\0") + RETURN_DESCRIPTION[library.machine].ljust(16, b"\0")
    symbols, indices = bytes(24), struct.pack("<H", 0)
    for name in names:
        version = library.functions[name]
        address = first + 16 * bool(TEXT_FUNCTION.fullmatch(name))
        symbols += struct.pack("<IBBHQQ", at[name], GLOBAL_FUNCTION, 0, 1, address, 16)
        indices += struct.pack("<H", versions.index(version) + 2 if version else 1)
    definitions = [library.name, *versions]
    body, places = bytearray(code + DESCRIPTION + b"\0"), {}
    for tag, content in (
        (DT_HASH, _hash_table(names)),
        (DT_SYMTAB, symbols),
        (DT_VERSYM, indices),
        (DT_VERDEF, _version_definitions(definitions, at)),
        (DT_STRTAB, strings),
    ):
        body += bytes(-len(body) % 8)
        places[tag] = first + len(body)
        body += content
    dynamic = {DT_SONAME: at[library.name], **places, DT_STRSZ: len(strings), DT_SYMENT: 24}
    dynamic[DT_VERDEFNUM] = len(definitions)
    table = b"".join(struct.pack("<qQ", tag, value) for tag, value in [*dynamic.items(), (0, 0)])
    return _file(library.machine, bytes(body), table)


def _file(machine: int, body: bytes, dynamic: bytes) -> bytes:
    """Put headers before code and tables, and the dynamic section, which the loader writes to, on a page of its own."""
    size = 64 + 4 * 56 + len(body)
    page = -(-size // PAGE) * PAGE
    headers = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    headers += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 4, 64, 0, 0)
    for kind, flags, start, length, alignment in (
        (PT_LOAD, READ | EXECUTE, 0, size, PAGE),
        (PT_LOAD, READ | WRITE, page, len(dynamic), PAGE),
        (PT_DYNAMIC, READ | WRITE, page, len(dynamic), 8),
        (PT_GNU_STACK, READ | WRITE, 0, 0, 16),
    ):
        headers += struct.pack("<IIQQQQQQ", kind, flags, start, start, start, length, length, alignment)
    return (headers + body).ljust(page, b"\0") + dynamic


def _version_definitions(names: list[str], at: dict[str, int]) -> bytes:
    """Return the versions that a library defines; the first is its own name."""
    last = len(names) - 1
    return b"".join(
        struct.pack("<HHHHIII", 1, int(index == 0), index + 1, 1, _hashed(name), 20, 28 if index < last else 0)
        + struct.pack("<II", at[name], 0)
        for index, name in enumerate(names)
    )


def _hash_table(names: list[str]) -> bytes:
    """Return the table that the loader finds a symbol by; symbol 0 is the undefined one."""
    count = len(names) + 1
    buckets, chain = [0] * count, [0] * count
    for number, name in enumerate(names, start=1):
        bucket = _hashed(name) % count
        chain[number], buckets[bucket] = buckets[bucket], number
    return struct.pack(f"<II{2 * count}I", count, count, *buckets, *chain)


def _hashed(name: str) -> int:
    """Return the ABI's hash of a symbol's name."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high
    return value


def main() -> int:
    """Do what the command line asks for, and return the exit code."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("lock", "libraries"):  # noqa: PLR2004 - a command and its argument
        sys.stderr.write(f"{__doc__}\n")
        return 2
    given = Path(sys.argv[2])
    if sys.argv[1] == "lock":
        sys.stdout.write(without_cuda(given.read_text(encoding="utf-8")))
        return 0
    for library in stand_ins(sorted(given.glob("*.so"))):
        (given / library.name).write_bytes(shared_library(library))
    return 0


if __name__ == "__main__":
    sys.exit(main())
