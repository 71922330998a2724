"""Self-contained, deterministic SVG figures. matplotlib is imported on first use."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GOOD, BAD, ACCENT = "#1f2933", "#9aa5b1", "#2a9d5c", "#c8453b", "#3867d6"
FONT = "DejaVu Sans"
"""Shipped with matplotlib; browsers without it substitute another font."""
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


def svg_of(size_in: tuple[float, float], draw: Callable[["Figure"], None], *, name: str) -> str:
    """Return what `draw` puts onto a figure of this size, in inches, from `<svg` to `</svg>`.

    Text stays text. `name` sets the ids within the picture apart from those of others on the same page.
    """
    # Imported here because it takes a second, which no other command should pay.
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": name,
            "font.family": FONT,
            "font.size": 9,
            "text.color": INK,
            "text.parse_math": False,
            "axes.edgecolor": FAINT,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    ):
        figure = Figure(figsize=size_in)
        FigureCanvasSVG(figure)
        draw(figure)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata=_NO_METADATA, facecolor="white")
    text = written.getvalue()
    return text[text.index("<svg") :].strip() + "\n"


def plain_axes(axes: "Axes", title: str = "") -> None:
    """Leave out the frame above and on the right, draw faint vertical lines, and put a title on the left."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color=FAINT, alpha=0.25)
    if title:
        axes.set_title(title, loc="left", fontsize=9)


def shortened(text: str, maximum: int) -> str:
    """Return the text on one line, truncated if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= maximum else line[: maximum - 1].rstrip() + "…"
