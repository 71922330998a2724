import ctypes
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("no_cuda", ROOT / "infra" / "no_cuda.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    return module


no_cuda = _script()
MACHINE = no_cuda.Elf(Path(sys.executable).resolve().read_bytes()).machine


def test_a_written_library_is_loaded_and_its_functions_say_that_there_is_no_driver(tmp_path: Path) -> None:
    library = no_cuda.Library("libcudatest.so.13", MACHINE, {"cudaGetDeviceCount": "libcudatest.so.13", "ncclSend": ""})
    file = tmp_path / library.name
    file.write_bytes(no_cuda.shared_library(library))

    loaded = ctypes.CDLL(str(file))

    assert loaded.cudaGetDeviceCount() == loaded.ncclSend() == no_cuda.INSUFFICIENT_DRIVER
    assert not hasattr(loaded, "cudaMalloc")


def test_a_function_that_describes_an_error_returns_a_text(tmp_path: Path) -> None:
    functions = dict.fromkeys(["cudaGetErrorString", "cublasGetStatusName", "ncclGetLastError", "cudaMalloc"], "")
    file = tmp_path / "libcudatest.so.13"
    file.write_bytes(no_cuda.shared_library(no_cuda.Library(file.name, MACHINE, functions)))
    loaded = ctypes.CDLL(str(file))

    for name in sorted(functions.keys() - {"cudaMalloc"}):
        function = loaded[name]
        function.restype = ctypes.c_char_p
        assert function(35) == no_cuda.DESCRIPTION
    assert loaded.cudaMalloc() == no_cuda.INSUFFICIENT_DRIVER


def test_pytorch_says_that_there_is_no_driver_instead_of_crashing() -> None:
    asked = "import torch; torch.cuda.is_available(); torch._C._cuda_getDeviceCount(); torch.zeros(1).pin_memory()"

    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False, timeout=100)  # noqa: S603 - our own command

    assert done.returncode == 1, done.stderr  # an exception of Python's, no signal
    assert "NVIDIA" in done.stderr


def test_a_written_library_defines_the_versions_that_its_functions_were_asked_for_with(tmp_path: Path) -> None:
    library = no_cuda.Library("libcudatest.so.13", MACHINE, {f"cuda{number}": "V13" for number in range(100)})
    file = tmp_path / library.name
    file.write_bytes(no_cuda.shared_library(library))
    libc = ctypes.CDLL(None)
    libc.dlvsym.restype = ctypes.c_void_p
    libc.dlvsym.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
    handle = ctypes.CDLL(str(file))._handle  # noqa: SLF001 - as dlopen gave it

    assert libc.dlvsym(handle, b"cuda42", b"V13")
    assert not libc.dlvsym(handle, b"cuda42", b"V12")


def test_pytorch_s_libraries_are_given_all_that_they_ask_of_cuda() -> None:
    torch = importlib.util.find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    files = sorted((Path(torch.origin).parent / "lib").glob("*.so"))
    if not any(name.startswith("libcudart") for file in files for name in no_cuda.Elf(file.read_bytes()).needed()):
        pytest.skip("this wheel of PyTorch is not built for CUDA")

    written = {library.name.split(".")[0]: library for library in no_cuda.stand_ins(files)}

    assert "cudaGetDeviceCount" in written["libcudart"].functions
    assert {"libcublas", "libcudnn", "libcupti", "libnccl"} <= written.keys()
    assert "libcuda" not in written


def test_a_lock_without_cuda_keeps_everything_else() -> None:
    lock = (
        "# Written by `make locks`\n"
        "cuda-toolkit==13.0 ; sys_platform == 'linux' \\\n    --hash=sha256:1\n"
        "numpy==2.4 \\\n    --hash=sha256:2 \\\n    --hash=sha256:3\n"
        "nvidia-nccl-cu13==2 \\\n    --hash=sha256:4\n"
        "torch==2.13 \\\n    --hash=sha256:5\n"
        "triton==3 \\\n    --hash=sha256:6\n"
        "trl==1 \\\n    --hash=sha256:7\n"
    )

    assert no_cuda.without_cuda(lock) == (
        "# Written by `make locks`\n"
        "numpy==2.4 \\\n    --hash=sha256:2 \\\n    --hash=sha256:3\n"
        "torch==2.13 \\\n    --hash=sha256:5\n"
        "trl==1 \\\n    --hash=sha256:7\n"
    )
