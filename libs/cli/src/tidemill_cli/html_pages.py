"""HTML files that need nothing from elsewhere, and run no scripts."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2933; max-width: 68rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; margin: .6rem 0 } td, th { text-align: left; padding: .25rem .8rem .25rem 0 }
tr { border-bottom: 1px solid #e4e7eb } td { overflow-wrap: anywhere } th { color: #52606d; font-weight: 600 }
figure { margin: 1rem 0; overflow-x: auto } svg { max-width: 100%; height: auto }
"""


def html_page(title: str, body: Iterable[str]) -> str:
    """Return a page with this title and the HTML of its body."""
    return "".join(_page(title, body))


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the HTML of a table of texts."""
    yield "<table>\n<tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>\n"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n"
    yield "</table>\n"


def _page(title: str, body: Iterable[str]) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
    yield f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
    yield from body
    yield "</body>\n</html>\n"
