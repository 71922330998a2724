"""Keeps out of a process what transformers imports and serving never uses: 95 MB, and a second of processor time.

transformers marks functions for torch's compiler, and a mark alone imports the compiler, with sympy; its models import
what distributes tensors over processes, and losses that need scipy.
"""

import importlib
import sys
import threading
from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any, TypeVar

F = TypeVar("F")
_COMPILER = "torch._dynamo"
_lock = threading.RLock()


def import_transformers() -> None:
    """Import what all models of transformers import, before a thread imports one of them.

    Its modules and accelerate's import each other, so threads that import them at the same time find some half made.
    """
    with _lock:
        importlib.import_module("transformers.modeling_utils")


def leave_out_training() -> None:
    """Call this before the first model is loaded, in a process that runs models as they are, alone.

    Imports torch and transformers.

    The compiler is imported all the same once anything but a mark is asked of it, so `torch.compile` works.
    transformers takes torch for a build without `torch.distributed`, and scipy for not installed.
    """
    import torch  # noqa: PLC0415 - seconds of imports, in services that have it anyway

    with _lock:
        if _COMPILER not in sys.modules:
            _put_marks_in_its_place(torch)
            _deny_distributed_and_scipy(torch)
        import_transformers()


def _deny_distributed_and_scipy(torch: Any) -> None:  # noqa: ANN401 - the module
    from transformers.utils import import_utils  # noqa: PLC0415 - ditto

    there, sys.modules["scipy"] = sys.modules.get("scipy"), None  # type: ignore[assignment] # Python's way to say "not installed"
    distributed = torch.distributed.is_available
    torch.distributed.is_available = lambda: False
    try:
        for remembers in (import_utils.is_torch_distributed_available, import_utils.is_scipy_available):
            remembers.cache_clear()
            remembers()
    finally:
        torch.distributed.is_available = distributed
        del sys.modules["scipy"]
        if there is not None:
            sys.modules["scipy"] = there


def _put_marks_in_its_place(torch: ModuleType) -> None:
    spec = PathFinder.find_spec(_COMPILER, torch.__path__)
    if spec is None:
        return
    compiler = sys.modules[_COMPILER] = module_from_spec(spec)
    compiler.__class__ = _Marks
    # Attention masks need this submodule, which needs no compiler. Without a path any other imports all of it first.
    importlib.import_module(f"{_COMPILER}._trace_wrapped_higher_order_op")
    del compiler.__path__


class _Marks(ModuleType):
    """The compiler before it is imported: takes its marks, which mean nothing where nothing is compiled."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of the compiler
        spec = self.__spec__
        if (name.startswith("__") and name != "__path__") or spec is None or spec.loader is None:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment] # as `importlib.util.LazyLoader` does
        self.__path__ = spec.submodule_search_locations or []
        spec.loader.exec_module(self)
        return getattr(self, name)

    def disable(self, function: F | None = None, *_: object, **__: object) -> F | Callable[[F], F]:
        return _same if function is None else function

    def allow_in_graph(self, function: F) -> F:
        return function

    def assume_constant_result(self, function: F) -> F:
        return function

    def mark_static_address(self, *_: object, **__: object) -> None:
        pass


def _same(function: F) -> F:
    return function
