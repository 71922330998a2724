"""The tokens of `tidemill login`, in files that only their owner may read: one by installation and project."""

import hashlib
import os
from pathlib import Path

from tidemill_core.grpc.credentials import Credential, FileCredential
from tidemill_core.private_files import replace_private

ALL_PROJECTS = "*"
_FILE_OF_ALL = "_all"  # no project has an underscore in it


def login_file(monitor: str, project: str) -> Path:
    """Return where the token of a project is, of the installation whose monitor has this address.

    A token is for one installation: none is sent to another.
    """
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(configured) if configured else Path.home() / ".config"
    installation = hashlib.sha256(monitor.encode()).hexdigest()[:16]
    return folder / "tidemill" / "logins" / installation / (_FILE_OF_ALL if project == ALL_PROJECTS else project)


def remember_login(monitor: str, project: str, token: str) -> Path:
    """Write the token of a login, and return where."""
    file = login_file(monitor, project)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_private(file, f"{token}\n".encode("ascii"))
    return file


def forget_logins(monitor: str) -> int:
    """Delete the tokens of an installation, and return how many there were."""
    files = [each for each in login_file(monitor, ALL_PROJECTS).parent.glob("*") if each.is_file()]
    for each in files:
        each.unlink(missing_ok=True)
    return len(files)


def credential_of_login(monitor: str, project: str) -> Credential | None:
    """Return the token of the last login to a project, or to all; None without one."""
    files = (login_file(monitor, each) for each in (project, ALL_PROJECTS) if monitor and "/" not in each)
    return next((FileCredential(file) for file in files if file.is_file()), None)
