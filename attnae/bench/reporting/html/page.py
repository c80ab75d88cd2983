"""Renders a report as one HTML file that opens from disk without a network."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from attnae.errors import UserError

if TYPE_CHECKING:
    from attnae.bench.reporting.material import Folders, Report


def text(report: Report, folders: Folders) -> str:
    """The page, at most 6 MB: 4.8 MB of them are plotly's code.

    Args:
        report: The report.
        folders: Folders of its results.

    Raises:
        UserError: jinja2 or plotly is not installed.
    """
    try:
        from jinja2 import Environment
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise UserError('HTML reports require plotly. Install it with pip install "attnae[html]".') from error
    from attnae.bench.reporting.html.content import content

    here = files(__package__)
    source = {name: (here / f"report.{name}").read_text(encoding="utf-8") for name in ("html", "css", "js")}
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source["html"])
    return template.render(content=content(report, folders), css=source["css"], js=source["js"], plotly=get_plotlyjs())
