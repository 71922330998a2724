"""Which GPUs a worker has for trainings."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.trainer.tests.registry.test_grpc import without_servers
from tidemill_trainer.settings import TrainerSettings
from tidemill_trainer.training.worker_devices import torch_devices, visible_devices


@pytest.mark.parametrize(
    ("named", "there", "found"),
    [
        (None, 2, ("0", "1")),
        ("1", 1, ("1",)),
        ("GPU-a, GPU-b", 2, ("GPU-a", "GPU-b")),
        ("0,-1,1", 1, ("0",)),
        ("", 0, ()),
        ("-1", 0, ()),
        (None, 0, ()),  # a container without GPUs on a machine that has some, or a torch without CUDA
    ],
)
def test_gpus_are_those_that_torch_counts_by_the_names_of_the_variable(
    tmp_path: Path, named: str | None, there: int, found: Sequence[str]
) -> None:
    variables = {} if named is None else {"CUDA_VISIBLE_DEVICES": named}

    assert visible_devices(variables=variables, driver=tmp_path, count=lambda: there) == tuple(found)


def test_without_a_driver_torch_is_not_asked(tmp_path: Path) -> None:
    def asked() -> int:
        raise AssertionError

    assert visible_devices(variables={}, driver=tmp_path / "none", count=asked) == ()


@pytest.mark.parametrize(
    ("words", "there"), [("print(3)", 3), ("print('a library says')", 0), ("raise SystemExit(1)", 0)]
)
def test_gpus_are_counted_by_a_process(words: str, there: int) -> None:
    assert torch_devices(("-c", words)) == there


@pytest.mark.parametrize("named", ["0,0", "0,-1,1"])
def test_gpus_that_cuda_would_not_take_are_refused_at_the_start(named: str) -> None:
    given = without_servers().model_dump()

    assert TrainerSettings.model_validate(given | {"run_devices": "0, GPU-a"}).run_devices == ("0", "GPU-a")
    with pytest.raises(ValidationError, match=f"{named} names a GPU twice or a negative number"):
        TrainerSettings.model_validate(given | {"run_devices": named})
