"""What can go wrong with files.

InvalidInput
└── FileTooLarge
NotFound
└── FileNotFound
PermissionDenied
└── FileRestricted          its content, or the batch that it belongs to, is another's
"""

from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied, Violation


class FileTooLarge(InvalidInput):
    """A file has more bytes than one may have."""

    reason = "FILE_TOO_LARGE"

    def __init__(self, *, limit: int, setting: str) -> None:
        text = f"has more than {limit} bytes, which is the limit: send several files, or have {setting} raised"
        super().__init__(violations=[Violation("file", text)], limit=limit, setting=setting)


class FileNotFound(NotFound):
    """No file with this id in the caller's project."""

    reason = "FILE_NOT_FOUND"

    def __init__(self, file: str) -> None:
        super().__init__(f"there is no file {file} in this project: it may have been deleted, or expired", file=file)


class FileRestricted(PermissionDenied):
    """Content and batches are for who made them, and for who acts for users."""

    reason = "FILE_RESTRICTED"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is another's: answers in it may rest on documents that you may not read. "
            "Use the credential that made it, or one with the right act_for_users",
            id=name,
        )
