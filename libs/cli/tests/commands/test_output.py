import io
import json

import pytest
from rich.table import Table
from rich.text import Text

from tidemill_cli.output import SafeConsole, print_json

EVIL = "\x1b[31mred\x1b]0;pwned\x07 \x9b2J\u202eabc"


@pytest.mark.parametrize("markup", [True, False])
def test_text_of_others_commands_no_terminal_however_it_is_printed(*, markup: bool) -> None:
    table = Table()
    table.add_column(EVIL)
    table.add_row(EVIL)
    table.add_row(Text(EVIL))
    target = io.StringIO()
    console = SafeConsole(file=target, force_terminal=False, width=200)

    for each in (EVIL, Text(EVIL), table):
        console.print(each, markup=markup)
    console.print(EVIL, end="", markup=markup, highlight=False)

    assert "red" in target.getvalue()
    assert not set(target.getvalue()) & set("\x1b\x07\x9b\u202e")


def test_a_terminal_still_gets_colours() -> None:
    target = io.StringIO()

    SafeConsole(file=target, force_terminal=True, color_system="standard").print("[bold]fine[/]")

    assert "\x1b[1mfine\x1b[0m" in target.getvalue()


def test_json_for_programs_commands_no_terminal_and_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"title": EVIL + "\u2028"})

    printed = capsys.readouterr().out
    assert not set(printed) & set("\x1b\x07\x9b\u202e\u2028")
    assert json.loads(printed) == {"title": EVIL + "\u2028"}
