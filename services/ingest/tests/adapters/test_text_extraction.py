import pytest

from tidemill_ingest.adapters.text_extraction import extract
from tidemill_ingest.domain.errors import DocumentRefused

PAGE = """<!doctype html><html><head><title>Reset &amp; go</title><style>p {color: red}</style>
<script>var secret = 1;</script></head><body><h1>Reset a <em>password</em></h1><p>Use <code>reset_it(x)</code>.</p>
<ul><li>one<ul><li>inner</li></ul></li><li>two</li></ul>
<table><tr><th>Key</th><th>Value</th></tr><tr><td>a</td><td>1</td></tr></table>
<pre><code class="language-python">def f(x):
    return x  # twice
</code></pre><noscript>no</noscript><template>t</template></body></html>"""


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


def test_markup_whose_text_would_be_far_larger_is_refused() -> None:
    nested = b"<ol><li>" * 400 + b"<ol>" + b"<li>x" * 4000

    with pytest.raises(DocumentRefused, match="far larger") as refused:
        extract(nested, "text/html")

    assert refused.value.reason == "DOCUMENT_TOO_COMPLEX"


def test_every_step_has_its_version() -> None:
    steps = extract(PAGE.encode(), "text/html").steps

    assert [step.split()[0] for step in steps] == ["decode", "extract", "clean"]
    assert all(any(character.isdigit() for character in step) for step in steps)
