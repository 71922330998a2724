"""Files with secrets: replaced whole, and read by their owner alone."""

import stat
from pathlib import Path

from tidemill_core.private_files import replace_private


def test_what_an_interrupted_write_left_does_not_give_its_mode_to_the_file(tmp_path: Path) -> None:
    file, left = tmp_path / "admin.token", tmp_path / "admin.new"
    left.write_bytes(b"half a tok")
    left.chmod(0o644)

    replace_private(file, b"token\n")

    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"token\n", 0o600)
    assert list(tmp_path.iterdir()) == [file]
