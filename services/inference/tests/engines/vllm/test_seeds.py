"""Seeds in vLLM on a processor, on a stand-in for the part of vLLM that is extended."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

SOURCE = Path(__file__).parents[3] / "engines" / "vllm" / "src" / "tidemill_vllm" / "seeds.py"


class Wrapper:
    """vLLM's own, as far as it is built on."""

    def __init__(self) -> None:
        self.begun = False

    def init_device(self) -> None:
        self.begun = True


def runners() -> Any:  # noqa: ANN401 - vLLM's own
    """Return a class as vLLM's: each request with a seed draws in each step, and gives some of the draws back."""

    class CPUModelRunner:
        def __init__(self) -> None:
            self.input_batch = SimpleNamespace(generators={})

        def _sample(self) -> dict[int, float]:
            return {row: float(torch.rand(1, generator=each)) for row, each in self.input_batch.generators.items()}

        def _bookkeeping_sync(self, dropped: set[int]) -> None:
            for row in dropped:
                if (generator := self.input_batch.generators.get(row)) is not None:
                    assert generator.device.type == "cpu"
                    generator.set_offset(generator.get_offset() - 4)

        @torch.inference_mode()
        def step(self, *dropped: int) -> dict[int, float]:
            drawn = self._sample()
            self._bookkeeping_sync(set(dropped))
            return {row: value for row, value in drawn.items() if row not in dropped}

    return CPUModelRunner


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("vllm", "vllm.v1", "vllm.v1.worker"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    spec = importlib.util.spec_from_file_location("seeds", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def worker(seeds: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - vLLM's own
    base: Any = SimpleNamespace(WorkerWrapperBase=type("WorkerWrapperBase", (Wrapper,), {}))
    monkeypatch.setattr(sys.modules["vllm.v1.worker"], "worker_base", base, raising=False)
    seeds.register()
    return base.WorkerWrapperBase()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_request_draws_as_if_its_prompt_had_come_in_one_piece(
    seeds: ModuleType, worker: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runners()
    monkeypatch.setitem(sys.modules, seeds.RUNNER, SimpleNamespace(CPUModelRunner=runner))
    worker.init_device()
    whole, pieces = runner(), runner()
    whole.input_batch.generators = {0: seeded(1), 2: seeded(2)}
    pieces.input_batch.generators = {0: seeded(1), 2: seeded(2)}

    expected = [whole.step() for _ in range(6)]
    found = [pieces.step(2), pieces.step(1, 2), *(pieces.step() for _ in range(4))]

    assert worker.begun
    assert [each[0] for each in found] == [each[0] for each in expected]
    assert [each[2] for each in found[2:]] == [each[2] for each in expected[:4]]
    assert all(type(each) is torch.Generator for each in pieces.input_batch.generators.values())


def test_a_step_that_fails_leaves_the_generators_that_were_there(seeds: ModuleType) -> None:
    class Failing(runners()):  # type: ignore[misc] # vLLM's own
        def _bookkeeping_sync(self, _: set[int]) -> None:
            raise ArithmeticError

    seeds.extend(Failing)
    runner, generator = Failing(), seeded(1)
    runner.input_batch.generators = {0: generator}

    with pytest.raises(ArithmeticError):
        runner.step(0)

    assert runner.input_batch.generators == {0: generator}


def test_a_vllm_that_is_made_otherwise_is_left_as_it_is(
    seeds: ModuleType, worker: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.init_device()  # no such runner was imported
    assert worker.begun
    monkeypatch.setattr(sys.modules["vllm.v1.worker"], "worker_base", SimpleNamespace())
    seeds.register()
    other = type("CPUModelRunner", (), {"_sample": lambda _: "drawn"})
    before = dict(vars(other))

    seeds.extend(other)
    seeds.extend(None)

    assert dict(vars(other)) == before
    bare = type("CPUModelRunner", (), {"_sample": lambda _: "drawn", "_bookkeeping_sync": lambda _: "kept"})
    seeds.extend(bare)
    assert (bare()._sample(), bare()._bookkeeping_sync()) == ("drawn", "kept")  # noqa: SLF001
