"""LoRA in vLLM on a processor, on a stand-in for the part of vLLM that it extends."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

SOURCE = Path(__file__).parents[3] / "engines" / "vllm" / "src" / "tidemill_vllm" / "grouped_lora.py"
WIDE, RANK, PLACES = 8, 2, 3
IDS = [11, 12, 13]
WAYS = {
    "few": {"FEW": 128},
    "blanked": {"FEW": 1, "MINORITY": 1000},
    "blanked slice by slice": {"FEW": 1, "MINORITY": 1000, "BLOCK": 0},
    "gathered": {"FEW": 1, "MINORITY": 1},
}
"""How rows are multiplied, by how many there are."""


class Wrapper:
    """vLLM's own, as far as it is built on: the rows' places, -1 for a row without an adapter."""

    def __init__(self) -> None:
        self.token_lora_indices = self.sampler_indices = torch.empty(0, dtype=torch.long)

    def update_metadata(self, places: list[int], ids: list[int | None]) -> None:
        assert len(ids) == PLACES
        self.token_lora_indices = torch.tensor(places)
        self.sampler_indices = self.token_lora_indices


@pytest.fixture
def grouped(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("vllm", "vllm.lora", "vllm.lora.punica_wrapper"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    punica: Any = ModuleType("vllm.lora.punica_wrapper.punica_cpu")
    punica.PunicaWrapperCPU = Wrapper
    monkeypatch.setitem(sys.modules, punica.__name__, punica)
    ours: Any = ModuleType("tidemill_vllm")
    ours.seeds = SimpleNamespace(registered=0)
    ours.seeds.register = lambda: setattr(ours.seeds, "registered", ours.seeds.registered + 1)
    monkeypatch.setitem(sys.modules, ours.__name__, ours)
    spec = importlib.util.spec_from_file_location("grouped_lora", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def each_way(request: pytest.FixtureRequest, grouped: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, value in request.param.items():
        monkeypatch.setattr(grouped, name, value)
    return grouped


def matrices(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(PLACES, 1, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("places", [[0, 2, -1, 0, 1], [-1, -1], [2, 2, 2], [2], [-1, 2]])
def test_each_row_gets_its_own_adapter_and_a_row_without_one_none(each_way: ModuleType, places: list[int]) -> None:
    lora = each_way.GroupedLora()
    lora.update_metadata(places, IDS)
    x = torch.randn(len(places), WIDE)
    a = (matrices(RANK, WIDE, seed=1), matrices(RANK, WIDE, seed=2))
    b = (matrices(4, RANK, seed=3), matrices(6, RANK, seed=4))
    y = before = torch.randn(len(places), 10)
    y = y.clone()

    lora.add_lora_linear(y, x, a, b, 0.5, (4, 6))

    for row, place in enumerate(places):
        added = [0.5 * (x[row] @ one[place, 0].T) @ other[place, 0].T for one, other in zip(a, b, strict=True)]
        expected = before[row] + (torch.cat(added) if place >= 0 else 0)
        torch.testing.assert_close(y[row], expected)


def test_of_matrices_that_are_filled_with_zeros_what_the_adapter_now_in_that_place_has_counts(
    each_way: ModuleType,
) -> None:
    lora, x = each_way.GroupedLora(), torch.randn(3, WIDE)
    whole_a, whole_b = matrices(RANK, WIDE, seed=1), matrices(4, RANK, seed=2)
    a, b = whole_a.clone(), whole_b.clone()

    def added(ids: list[int | None]) -> torch.Tensor:
        lora.update_metadata([0, -1, 0], ids)
        y = torch.zeros(3, 4)
        lora.add_lora_linear(y, x, (a,), (b,), 1.0, (4,))
        return y[0]

    a[0] = 0
    assert not added([7, None, None]).any()
    a[0, 0, 0], a[0, 0, 1] = whole_a[0, 0, 0], 0
    torch.testing.assert_close(added([8, None, None]), x[0] @ a[0, 0].T @ b[0, 0].T)
    a.copy_(whole_a)
    torch.testing.assert_close(added([9, None, None]), x[0] @ whole_a[0, 0].T @ whole_b[0, 0].T)


@pytest.mark.parametrize(("of_first", "of_second"), [(3e38, 1.0), (1.0, torch.inf), (3e38, torch.inf)])
def test_an_adapter_whose_products_overflow_changes_rows_of_no_other(
    each_way: ModuleType, of_first: float, of_second: float
) -> None:
    lora = each_way.GroupedLora()
    lora.update_metadata([-1, 0, 1], IDS)
    x, y = torch.ones(3, WIDE), torch.zeros(3, 4)
    a, b = matrices(RANK, WIDE, seed=1), matrices(4, RANK, seed=2)
    a[0], b[0] = of_first, of_second

    lora.add_lora_linear(y, x, (a,), (b,), 1.0, (4,))

    assert not y[0].any()
    assert not y[1].isfinite().any()
    torch.testing.assert_close(y[2], x[2] @ a[1, 0].T @ b[1, 0].T)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("of_adapter", [torch.float32, torch.bfloat16, torch.float16])
def test_a_batch_may_compute_in_another_format_than_the_adapter(
    each_way: ModuleType, kind: torch.dtype, of_adapter: torch.dtype
) -> None:
    lora = each_way.GroupedLora()
    lora.update_metadata([0, -1], IDS)
    x, y = torch.randn(2, WIDE).to(torch.bfloat16), torch.zeros(2, 10, dtype=kind)
    a = (matrices(RANK, WIDE, seed=1).to(of_adapter), matrices(RANK, WIDE, seed=2).to(of_adapter))
    b = (matrices(4, RANK, seed=3).to(of_adapter), matrices(6, RANK, seed=4).to(of_adapter))

    lora.add_lora_linear(y, x, a, b, 1.0, (4, 6))

    added = [x[0].float() @ one[0, 0].float().T @ other[0, 0].float().T for one, other in zip(a, b, strict=True)]
    torch.testing.assert_close(y[0].float(), torch.cat(added), rtol=0.05, atol=0.1)
    assert not y[1].any()


def test_logits_and_embeddings_get_their_own_adapter_too(grouped: ModuleType) -> None:
    lora = grouped.GroupedLora()
    lora.update_metadata([1, -1, 2], IDS)
    x, a, b = torch.randn(3, WIDE), matrices(RANK, WIDE, seed=1), matrices(5, RANK, seed=2)
    logits, embedded, shrunk = torch.zeros(3, 7), torch.zeros(3, 5), torch.randn(3, RANK)

    lora.add_lora_logits(logits, x, a, b, 1.0)
    lora.add_lora_embedding(embedded, shrunk, b, add_inputs=True)

    for row, place in enumerate((1, -1, 2)):
        expected = (x[row] @ a[place, 0].T @ b[place, 0].T) if place >= 0 else torch.zeros(5)
        torch.testing.assert_close(logits[row, :5], expected)
        torch.testing.assert_close(embedded[row], shrunk[row] @ b[place, 0].T if place >= 0 else torch.zeros(5))


def test_it_takes_the_place_of_vllms_own_on_processors_only(
    grouped: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = []
    for is_cpu in (True, False):
        platform: Any = type(
            "Platform", (), {"is_cpu": lambda _, cpu=is_cpu: cpu, "get_punica_wrapper": lambda: "vLLM's"}
        )
        monkeypatch.setitem(sys.modules, "vllm.platforms", SimpleNamespace(current_platform=platform()))
        grouped.register()
        named.append(platform.get_punica_wrapper())

    assert named == ["grouped_lora.GroupedLora", "vLLM's"]
    assert grouped.seeds.registered == 1
