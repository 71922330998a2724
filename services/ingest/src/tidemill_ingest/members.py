"""Files inside of a file: what an archive holds, and what is attached to a mail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMember:
    """One file inside, before it is read; where it cannot be taken, `reason` and `message` say why.

    `path` is masked, and no other member of the file has it.
    """

    path: str
    media_type: str
    size: int
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMember:
    """The bytes of a file inside, and what they are; or why they cannot be read."""

    media_type: str
    content: bytes = b""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a file may still unpack to, with everything inside of what is in it."""

    members: int
    unpacked_bytes: int
    nesting: int
    """How deep: 1 takes members, but none of those that are in them."""

    def shared(self, planned: int, unpacked_bytes: int, *, among: int) -> "Allowance":
        """Return what each of some members may unpack to, once the file has so many members of so many bytes."""
        return Allowance(
            members=max(0, self.members - planned) // max(1, among),
            unpacked_bytes=max(0, self.unpacked_bytes - unpacked_bytes) // max(1, among),
            nesting=max(0, self.nesting - 1),
        )


def member_key(key: str, path: str) -> str:
    """Return the key of the document that a member becomes; with the source, it makes its id."""
    return f"{key}!/{path}"
