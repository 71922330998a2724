"""What a quick run leaves out, and refuses to load."""

import subprocess
import sys
from pathlib import Path

PLUGINS = 'pytest_plugins = ["tidemill_testkit.distribution"]\n'


def test_a_file_of_quick_tests_that_imports_torch_fails_and_a_heavy_one_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(PLUGINS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nheavy_tests = test_heavy.py\npythonpath = .\n")
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "test_heavy.py").write_text("import torch\ndef test_passes(): pass\n")
    (tmp_path / "test_light.py").write_text("def test_passes(): pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--quick", "."]

    passed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    (tmp_path / "test_light.py").write_text("import torch\ndef test_passes(): pass\n")
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603 - our own

    assert "1 passed" in passed.stdout
    assert "it imports torch, and no quick test may" in refused.stdout
    assert refused.returncode != 0
