import base64
import hashlib
import textwrap

import pytest

from tidemill_ingest.anchors import AnchorKind
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.parsing.converted import Places, anchored
from tidemill_ingest.parsing.text import extract

PAGE = """<!doctype html><html><head><title>Reset &amp; go</title><style>p {color: red}</style>
<script>var secret = 1;</script></head><body><h1>Reset a <em>password</em></h1><p>Use <code>reset_it(x)</code>.</p>
<ul><li>one<ul><li>inner</li></ul></li><li>two</li></ul>
<table><tr><th>Key</th><th>Value</th></tr><tr><td>a</td><td>1</td></tr></table>
<pre><code class="language-python">def f(x):
    return x  # twice
</code></pre><noscript>no</noscript><template>t</template></body></html>"""

BYTES = base64.b64encode(hashlib.shake_256(b"a picture").digest(3000)).decode()
WRAPPED = "\n".join(textwrap.wrap(BYTES, 76)) + "\n"


def test_html_becomes_markdown_with_its_structure_and_without_its_machinery() -> None:
    extracted = extract(PAGE.encode(), "text/html")

    assert extracted.media_type == "text/markdown"
    assert extracted.title == "Reset & go"
    for kept in (
        "# Reset a *password*",
        "Use `reset_it(x)`.",
        "- one\n  - inner\n- two",
        "| Key | Value |",
        "```python\ndef f(x):\n    return x  # twice\n```",
    ):
        assert kept in extracted.text
    for dropped in ("secret", "color", "noscript", "template"):
        assert dropped not in extracted.text


def test_a_page_without_a_title_takes_its_first_heading() -> None:
    assert extract(b"<p>x</p><h2>How <code>it</code> works</h2>", "text/html").title == "How it works"


def test_markdown_takes_its_first_heading_which_is_no_comment_in_code() -> None:
    assert extract(b"```sh\n# not this\n```\n\nThis *one*\n===\n\n# Later", "text/markdown").title == "This one"


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (b"<svg><title>Menu icon</title></svg><h1>Freight lift</h1>", "Freight lift"),
        (
            b"<html><head><meta charset=utf-8></head><body><svg><title>Close</title></svg><h1>Cellar</h1></body>",
            "Cellar",
        ),
        (b"<head><title>Lift</title></head><body><svg><title>Close</title></svg><h1>Cellar</h1></body>", "Lift"),
        (b"<title>Lift</title><p>Without the head's tags", "Lift"),
        (b"<header><h1>Rules</h1></header><p>x</p>", "Rules"),
    ],
)
def test_a_pages_title_is_its_heads_and_never_a_pictures(page: bytes, title: str) -> None:
    assert extract(page, "text/html").title == title


@pytest.mark.parametrize(
    ("text", "title", "below"),
    [
        ("---\ntitle: Refunds\ntags: [a, b]\n---\n\nText.", "Refunds", "Text."),
        ('---\ntitle: "A: b"  # shown\nauthors:\n  - ada\n- bob\n---\nText.', "A: b", "Text."),
        ("---\ntitle: >-\n  Two\n  lines\n---\nText.", "Two lines", "Text."),
        ("\ufeff---\r\ntitle: Windows\r\n---\r\nText.", "Windows", "Text."),
        ("---\naliases: [x]\n---\n# Note\nText.", "Note", "# Note\nText."),
        ('+++\ntitle = "Desks"\n[params]\nweight = 4\n+++\nText.', "Desks", "Text."),
        ("---\ntitle: 'It''s here'\n---\nText.", "It's here", "Text."),
        ('---\ntitle: "Say \\"hi\\" now" # shown\n---\nText.', 'Say "hi" now', "Text."),
        ('---\ntitle: "\\ud83d\\ude00 half \\ud83d"\n---\nText.', "\U0001f600 half ?", "Text."),
        ("---\n$schema: x\nÜberschrift: y\n<<: *base\ntitle: Keys\n---\nText.", "Keys", "Text."),
        ('+++\ntitle = "Lines"\nnote = """\nfree text\n"""\n+++\nText.', "Lines", "Text."),
        ("---\n\nA rule, and no entries.\n\n---\n\nText.", "", "---\n\nA rule, and no entries.\n\n---\n\nText."),
        ("---\ntitle: never closed\n\nText.", "", "---\ntitle: never closed\n\nText."),
        ("Text.\n\n---\ntitle: late\n\nEnd.", "", "Text.\n\n---\ntitle: late\n\nEnd."),
    ],
)
def test_front_matter_gives_the_title_and_is_no_text(text: str, title: str, below: str) -> None:
    extracted = extract(text.encode(), "text/markdown")

    assert (extracted.title, extracted.text) == (title, below)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("See ![front panel](data:image/png;base64,iVBORw0KGgo= 'x') here.", "See front panel here."),
        ("Get [the form](data:text/plain,hello%20you).", "Get the form."),
        ('<img width=3 src="data:image/gif;base64,R0lGOD" alt="a dot"> and ![](data:;base64,AAAA)', "a dot and "),
        ("x ![logo][l]\n\n[l]: data:image/svg+xml;utf8,%3Csvg%3E\ny", "x ![logo][l]\n\ny"),
        (f'<img alt="wrapped" src="data:image/png;base64,{WRAPPED}"> here.', "wrapped here."),
        (f"![wrapped](data:image/png;base64,{WRAPPED}) here.", "wrapped here."),
        ('<a href="DATA:application/pdf;name=a%20b.pdf;base64,AAAA">form</a>', '<a href="">form</a>'),
        ("![a [b] c](data:;base64,AAAA) and ![two\nlines](data:;base64,AAAA)", "a [b] c and two\nlines"),
        (f'{{"image/png": "{BYTES}"}}', '{"image/png": ""}'),
        (f"Attached:\n\n{WRAPPED * 2}\n\nEnd.", "Attached:\n\n\n\n\nEnd."),
        (f"Digest: {BYTES[:512]}", f"Digest: {BYTES[:512]}"),
        ("ab12" * 2000, "ab12" * 2000),
        ("the data: they, data:image/png is a scheme", "the data: they, data:image/png is a scheme"),
        ("![a](https://acme.example/a.png)", "![a](https://acme.example/a.png)"),
    ],
)
def test_what_is_written_into_a_text_as_bytes_goes_and_its_words_stay(text: str, left: str) -> None:
    assert extract(text.encode(), "text/markdown").text == left


def test_a_page_has_no_bytes_in_its_links() -> None:
    assert extract(b"<p>a <a href='data:text/plain;base64,AAAA'>file</a></p>", "text/html").text == "a file\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("at most 10<sup>6</sup> of 2<sup>10</sup>", "at most 10^6 of 2^10"),
        ("40 m<sup>2</sup>, 5\u00b710<sup>-3</sup> bar, (a+b)<sup>2</sup>", "40 m^2, 5\u00b710^-3 bar, (a+b)^2"),
        ("x<sup>2n+1</sup> and e<sup>x</sup>", "x^(2n+1) and e^x"),
        ("Prices<sup>1</sup> rise.<sup>[2]</sup> Now<sup>*</sup>", "Prices (1) rise. (2) Now (*)"),
        ("12<sup><a href='#n3'>3</a></sup>", "12 (3)"),
        ("the 1<sup>st</sup>, M<sup>me</sup>, 3<sup>\u00e8me</sup>", "the 1st, Mme, 3\u00e8me"),
        ("H<sub>2</sub>O, CO<sub>2</sub>, x<sub>i</sub>, log<sub>2</sub>", "H2O, CO2, xi, log2"),
        ("1010<sub>2</sub> is 10<sub>10</sub>", "1010_2 is 10_10"),
        ("2<sup>1</sup>/<sub>2</sub> h, <sup>3</sup>\u2044<sub>4</sub> l", "2 1/2 h, 3/4 l"),
        ("x<sub>1</sub><sup>2</sup>, 2<sup>2<sup>3</sup></sup>", "x1^2, 2^(2^3)"),
        ("E = mc<sup>2</sup>, sin<sup>2</sup> x", "E = mc^2, sin^2 x"),
        ("40 µm<sup>2</sup>, 3 ha<sup>1</sup>, 20<sup>°</sup>C, Tab<sup>®</sup>", "40 µm^2, 3 ha (1), 20°C, Tab®"),
        ("10<sup><i>6</i></sup>, costs<sup>1)</sup>", "10^6, costs (1)"),
        ("<code>10<sup>6</sup></code>", "`10^6`"),
        ("10<span style='font-size:8px; vertical-align: super'>6</span>", "10^6"),
        (f"<sup>{'a b ' * 80}</sup> end", f"{'a b ' * 80} end"),
    ],
)
def test_raised_text_keeps_its_meaning(html: str, text: str) -> None:
    assert extract(f"<p>{html}</p>".encode(), "text/html").text == f"{text}\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h2><button>How long?</button></h2><p>Eleven months.</p>", "## How long?\n\nEleven months.\n"),
        ("<p>Press <button>Save as draft</button> and wait.</p>", "Press Save as draft and wait.\n"),
        ("<form><p>Open from 7 to 15.</p></form>", "Open from 7 to 15.\n"),
        ("<header><h1>Lift</h1><p>At most 900 kg.</p></header>", "# Lift\n\nAt most 900 kg.\n"),
        ("<nav>Home</nav><p>x</p>", "x\n"),
        ("<p>Choose <select><option>Full</option><option>Half</option></select> day.</p>", "Choose Full Half day.\n"),
        ("<p>Write <textarea>Dear all</textarea> first.</p>", "Write Dear all\n\nfirst.\n"),
        ('<p>Press <input class=b type="submit" value="Save &amp; go"> and wait.</p>', "Press Save & go and wait.\n"),
        ("<p>Type <input value=Ada> and go.</p>", "Type and go.\n"),
        (f'<p>See <img src="data:image/png;base64,{BYTES}" alt="panel"> here.</p>', "See panel here.\n"),
        ('<p>Press <img src=b.png alt="the green button"> twice.</p>', "Press the green button twice.\n"),
    ],
)
def test_words_stay_where_they_stand_whatever_element_holds_them(html: str, text: str) -> None:
    assert extract(f"<body>{html}</body>".encode(), "text/html").text == text


def test_a_merged_cell_is_repeated_in_each_row_and_column_that_it_spans() -> None:
    page = """<table><tr><th>Region</th><th colspan=2>Hours</th></tr>
    <tr><td rowspan=2>North</td><td>Gold</td><td>24</td></tr><tr><td>Silver</td><td>a | b</td></tr></table><p>x</p>"""

    assert extract(page.encode(), "text/html").text == (
        "| Region | Hours | Hours |\n| --- | --- | --- |\n| North | Gold | 24 |\n| North | Silver | a \\| b |\n\nx\n"
    )


def test_a_cell_that_spans_the_rest_of_its_table_is_repeated_in_it() -> None:
    page = "<table><tr><th>A<th>B</tr><tr><td rowspan=0>n<td>1</tr><tr><td>2</tr><tr><td>3</tr></table>"

    assert extract(page.encode(), "text/html").text.splitlines()[2:] == ["| n | 1 |", "| n | 2 |", "| n | 3 |"]


def test_a_cell_that_claims_to_span_everything_makes_no_larger_text() -> None:
    wide = b"<table>" + b"<tr><td rowspan=65534 colspan=150>a</td></tr>" * 300 + b"</table>"

    assert len(extract(wide, "text/html").text) < 300_000


def test_plain_text_has_no_headings() -> None:
    extracted = extract(b"# a shell script's comment", "text/plain")

    assert (extracted.media_type, extracted.title) == ("text/plain", "")


def test_text_is_normalised() -> None:
    raw = "\ufeffCafe\u0301\r\nline\u2028end\rx\x07y\u200bz\tt\x0c".encode()

    assert extract(raw, "text/plain").text == "Café\nline\nend\nxyz\tt\n"


def test_markup_that_is_nested_too_deep_is_refused_instead_of_losing_its_text() -> None:
    with pytest.raises(DocumentRefused) as refused:
        extract(b"<p>top</p>" + b"<div>" * 3000 + b"deep", "text/html")

    assert refused.value.reason == "DOCUMENT_TOO_COMPLEX"


@pytest.mark.heavy
def test_markup_whose_text_would_be_far_larger_is_refused() -> None:
    nested = b"<ol><li>" * 400 + b"<ol>" + b"<li>x" * 4000

    with pytest.raises(DocumentRefused, match="far larger") as refused:
        extract(nested, "text/html")

    assert refused.value.reason == "DOCUMENT_TOO_COMPLEX"


def test_every_step_has_its_version() -> None:
    steps = extract(PAGE.encode(), "text/html").steps

    assert [step.split()[0] for step in steps] == ["decode", "extract", "clean"]
    assert all(any(character.isdigit() for character in step) for step in steps)


def test_places_that_follow_many_dashes_and_a_word_are_found_without_trying_all_ways_to_divide_the_blanks() -> None:
    places = Places()
    text = "\n".join(f"{'-   ' * 15}x{places.mark(AnchorKind.PAGE, number)}" for number in range(200))

    _, anchors = anchored(text, places.found)

    assert [each.start for each in anchors] == [62 * number + 61 for number in range(200)]
