import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill_client.files import find_files
from tidemill_core.errors import InvalidInput
from tidemill_core.media_types import media_type_of

Writing = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writing:
    """Writes files into the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, content: str | bytes = "text") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path.relative_to(tmp_path)

    return write


def test_files_of_one_name_in_several_folders_have_keys_of_their_own(written: Writing) -> None:
    paths = [written(f"{folder}/README.md") for folder in ("vpn", "printer", "wifi")]

    files = find_files(paths, recursive=False)
    folders = find_files([path.parent for path in paths], recursive=True)

    assert sorted(files.by_key) == sorted(folders.by_key) == ["printer/README.md", "vpn/README.md", "wifi/README.md"]


def test_a_later_call_with_another_folder_finds_other_keys_and_the_same_one_finds_the_same(written: Writing) -> None:
    first, second = written("vpn/README.md").parent, written("printer/README.md").parent

    assert not find_files([first], recursive=True).by_key.keys() & find_files([second], recursive=True).by_key.keys()
    assert find_files([first], recursive=True) == find_files([first], recursive=True)


def test_a_file_that_is_named_twice_is_taken_once(written: Writing) -> None:
    path = written("docs/a.md")

    assert list(find_files([path, Path("docs/../docs/a.md"), path.parent], recursive=True).by_key) == ["docs/a.md"]


def test_a_file_elsewhere_is_known_by_its_whole_path_or_by_the_one_below_a_folder(
    written: Writing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / written("docs/team/a.md")
    monkeypatch.chdir(tmp_path.parent.parent)

    assert list(find_files([path], recursive=False, below=tmp_path).by_key) == ["docs/team/a.md"]
    monkeypatch.chdir(path.parent)
    outside = tmp_path / "docs" / "b.md"
    outside.write_text("text")
    assert list(find_files([outside], recursive=False).by_key) == [outside.as_posix().lstrip("/")]
    with pytest.raises(InvalidInput, match="is not below"):
        find_files([outside], recursive=False, below=Path())


def test_names_that_differ_in_the_form_of_their_accents_are_refused_with_both_paths(written: Writing) -> None:
    names = [unicodedata.normalize(form, "Übergabe.md") for form in ("NFC", "NFD")]
    paths = [written(name) for name in names]

    with pytest.raises(InvalidInput) as refused:
        find_files(paths, recursive=False)

    assert all(name in refused.value.message for name in names)


def test_what_is_not_read_is_counted_by_suffix_and_text_without_a_descriptive_name_is_read(written: Writing) -> None:
    for name in ("README", "LICENSE.old", "a.yaml", "b.json", "c.csv", "d.log", "e.adoc", "f.ini", "g.ts", "cut.off"):
        written(name, "é" * 4096 + "text" if name == "cut.off" else "Read me.")
    written("odd.cut", "x" + "é" * 5000)
    for name in ("x.odt", "y.ODT", "mail.msg", "letter.doc", "sheet.xls", "slides.ppt", "logo.svg", "notes.txt.gz"):
        written(name, "looks like text")
    written("blob", b"\x00\x01")
    written(".git/config")
    written(".env")

    files = find_files([Path()], recursive=True)

    assert sorted(files.by_key) == sorted(
        ["README", "LICENSE.old", "a.yaml", "b.json", "c.csv", "d.log", "e.adoc", "f.ini", "g.ts", "cut.off", "odd.cut"]
    )
    assert files.by_suffix() == {
        ".odt": 2, ".msg": 1, ".doc": 1, ".xls": 1, ".ppt": 1, ".svg": 1, ".gz": 1, "without suffix": 1,
    }  # fmt: skip
    assert sorted(str(each.path) for each in files.skipped if each.hidden) == [".env", ".git"]


def test_what_cannot_be_inspected_is_named(written: Writing, tmp_path: Path) -> None:
    written("docs/a.md")
    (tmp_path / "docs" / "link").symlink_to(tmp_path)
    (tmp_path / "docs" / "gone.md").symlink_to(tmp_path / "nothing")

    files = find_files([Path("docs")], recursive=True)

    assert sorted((each.path.name, each.why) for each in files.unreadable) == [
        ("gone.md", "is no file"),
        ("link", "is a link to a folder"),
    ]


@pytest.mark.parametrize(
    ("name", "head", "media_type"),
    [
        ("reset.MD", b"", "text/markdown"),
        ("page.xhtml", b"", "text/html"),
        ("Makefile", b"all:", "text/plain"),
        ("Makefile", b"", "application/octet-stream"),
        ("latin.txt", b"\xe9t\xe9", "text/plain"),
        ("latin", b"\xe9t\xe9", "application/octet-stream"),
        ("report.pdf", b"%PDF-1.7", "application/pdf"),
        ("Leave.DOCX", b"PK", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("server.key", b"-----BEGIN", "application/x-pem-file"),
    ],
)
def test_a_name_says_what_a_file_is_and_else_its_first_bytes(name: str, head: bytes, media_type: str) -> None:
    assert media_type_of(name, head) == media_type
