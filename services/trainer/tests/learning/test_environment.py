import platform
from pathlib import Path

from tidemill_trainer.learning.environment import code_digest, processor_name


def package(folder: Path, code: str) -> Path:
    for name in ("learning", "training/domain", "registry"):
        (folder / name).mkdir(parents=True)
        (folder / name / "module.py").write_text(code)
    return folder


def test_the_digest_of_the_code_is_that_of_what_trains(tmp_path: Path) -> None:
    one, same, other = (
        package(tmp_path / name, code) for name, code in (("one", "a = 1"), ("same", "a = 1"), ("other", "a = 2"))
    )
    (same / "registry/module.py").write_text("b = 1")

    assert code_digest(one) == code_digest(same) != code_digest(other)
    assert len(code_digest()) == 12


def test_the_processor_has_its_model_name(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: fpu\n")

    assert processor_name(cpuinfo) == "Some CPU @ 2 GHz"


def test_a_processor_without_a_name_is_its_architecture(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n")

    assert processor_name(tmp_path / "cpuinfo") == processor_name(tmp_path / "missing") == platform.machine()
