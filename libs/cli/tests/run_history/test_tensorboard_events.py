"""Event files as TensorBoard reads them: framed records, each an Event."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event  # type: ignore[import-untyped] # it ships no types

from libs.cli.tests.commands.run_answers import run
from tidemill_cli.run_history.records import record_of
from tidemill_cli.run_history.tensorboard_events import write_tensorboard
from tidemill_core.errors import InvalidInput


def events(home: Path) -> Iterator[Event]:
    (file,) = home.iterdir()
    content, place = file.read_bytes(), 0
    while place < len(content):
        (size,) = struct.unpack_from("<Q", content, place)
        yield Event.FromString(content[place + 12 : place + 12 + size])
        place += size + 16


def test_curves_and_figures_are_scalars_by_step(tmp_path: Path) -> None:
    home = write_tensorboard(record_of(run("a")), tmp_path)

    found = [
        (value.tag, event.step, value.simple_value, event.wall_time)
        for event in events(home)
        for value in event.summary.value
        if not value.HasField("tensor")
    ]
    assert home == tmp_path / "helpdesk_lora/a"
    assert found == [
        ("loss", 1, 2.5, 1_790_000_090.0),
        ("loss", 2, 1.25, 1_790_000_090.0),
        ("held_out_loss", 2, 1.5, 1_790_000_090.0),
        ("grad_norm", 1, 0.5, 1_790_000_090.0),
        ("grad_norm", 2, 0.25, 1_790_000_090.0),
        ("figures/steps", 2, 2.0, 1_790_000_090.0),
        ("figures/computing_s", 2, 90.0, 1_790_000_090.0),
        ("figures/peak_memory_bytes", 2, 500_000_000.0, 1_790_000_090.0),
    ]


def test_settings_data_environment_and_notes_are_a_text(tmp_path: Path) -> None:
    home = write_tensorboard(record_of(run("a")), tmp_path)

    (text,) = [
        value.tensor.string_val[0].decode()
        for event in events(home)
        for value in event.summary.value
        if value.HasField("tensor")
    ]
    assert '"args.learning_rate": 0.001' in text
    assert '"notes": "kept low"' in text


def test_a_run_that_is_there_already_is_left_as_it_is(tmp_path: Path) -> None:
    home = write_tensorboard(record_of(run("a")), tmp_path)

    with pytest.raises(InvalidInput, match="is there already"):
        write_tensorboard(record_of(run("a")), tmp_path)
    assert len(list(home.iterdir())) == 1
