"""`report.html`: one page that opens without a network, with the curves to hover over and tables to sort."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template

import pandas as pd
from plotly.offline import get_plotlyjs

from cppo_verl.report.curves import X_AXES, accuracy_line, reward_line, smoothing
from cppo_verl.report.groups import Group
from cppo_verl.report.sections import CURVES, Section

NUMBER = re.compile(r"[-+]?\d[\d,.]*(e[-+]\d+)?( ?[%x]|\b)|never|-|\N{INFINITY}")
"""How a cell of a column of numbers begins, as `report.js` reads it."""

WEB = files("cppo_verl.report") / "web"


def page(
    headlines: Sequence[str], sections: Sequence[Section], groups: Sequence[Group], frames: Mapping[str, pd.DataFrame]
) -> str:
    """The page; plotly.js is written into it.

    Args:
        headlines: What the comparison comes to.
        sections: The report; curves and the split of the time are drawn by the page.
        groups: The rows of its tables.
        frames: `time_to_accuracy` and `time_split`.
    """
    parts = {"Time to accuracy": _chart(groups), "Where the time went": _bars(frames["time_split"])}
    shown = [section for section in sections if section.title != CURVES]
    return Template((WEB / "report.html").read_text()).substitute(
        style=(WEB / "report.css").read_text(),
        headlines="\n".join(map(_headline, headlines)),
        sections="\n".join(_section(section, parts.get(section.title, "")) for section in shown),
        data=_data(groups, frames["time_to_accuracy"]),
        plotly=get_plotlyjs(),
        script=(WEB / "report.js").read_text(),
    )


def _headline(line: str) -> str:
    """A number and its unit stay on one line."""
    return f'<p class="headline">{re.sub(r"(?<=[0-9]) (?=%|s )", "&nbsp;", escape(line))}</p>'


def _section(section: Section, picture: str) -> str:
    table = "" if section.table is None else _table(section.table, section.title)
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{picture}\n{table}\n{_text(section.text)}\n</section>"


def _chart(groups: Sequence[Group]) -> str:
    """The curves' place, and a switch for each method."""
    switches = [
        f'<label class="switch" style="--color: var(--line-{_color(number)})">'
        f'<input type="checkbox" name="method" value="{number}" checked><i></i>{escape(group.label)}</label>'
        for number, group in enumerate(groups)
    ]
    return Template((WEB / "chart.html").read_text()).substitute(switches="\n".join(switches))


def _bars(split: pd.DataFrame) -> str:
    """Seconds by phase, a stacked bar a row, to the scale of the longest."""
    phases = [phase for phase in split.columns[1:] if (split[phase] > 0).any()]
    longest = split[phases].sum(axis=1).max()
    key = [f'<span style="--color: var(--phase-{i})"><i></i>{escape(name)}</span>' for i, name in enumerate(phases)]
    rows = []
    for row in split.to_dict("records"):
        parts = [
            f'<i style="width: {100 * row[phase] / longest:.2f}%; --color: var(--phase-{number})"'
            f' title="{escape(phase)}: {row[phase]:.1f} s"></i>'
            for number, phase in enumerate(phases)
            if row[phase] > 0
        ]
        rows.append(f'<div>{escape(row["label"])}</div><div class="bar">{"".join(parts)}</div>')
    return f'<div class="key">{"".join(key)}</div>\n<div class="bars">{"".join(rows)}</div>'


def _table(table: pd.DataFrame, title: str) -> str:
    kinds = ["number" if all(map(NUMBER.match, table[column])) else "words" for column in table]
    heads = [
        f'<th class="{kind}" scope="col"><button type="button">{_heading(name)}</button></th>'
        for kind, name in zip(kinds, table, strict=True)
    ]
    rows = [
        "".join(f'<td class="{kind}">{escape(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))
        for row in table.itertuples(index=False)
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    head = f"<thead><tr>{''.join(heads)}</tr></thead>"
    label = f'role="region" aria-label="{escape(title)}" tabindex="0"'
    return f'<div class="table" {label}><table>{head}\n<tbody>{body}</tbody></table></div>'


def _heading(name: str) -> str:
    """What stands in brackets may be on a line of its own, whole."""
    return re.sub(r"(\[.*\])$", r"<span>\1</span>", escape(name))


def _text(text: str) -> str:
    """The little of Markdown that the report's texts use: paragraphs, a list, code."""
    html = re.sub(r"`(.*?)`", r"<code>\1</code>", escape(text, quote=False))
    if text.startswith("- "):
        return "<ul>" + "".join(f"<li>{line.removeprefix('- ')}</li>" for line in html.splitlines()) + "</ul>"
    return f"<p>{html}</p>" if html else ""


def _data(groups: Sequence[Group], reached: pd.DataFrame) -> str:
    """What the curves are drawn of, as JSON that may stand in a script element."""
    window = smoothing(groups)
    target = reached["target"].iloc[0]
    methods = [
        {
            "label": group.label,
            "color": _color(number),
            "runs": len(group.runs),
            "lines": {"accuracy": _line(accuracy_line(group)), "reward": _line(reward_line(group, window))},
        }
        for number, group in enumerate(groups)
    ]
    data = {"methods": methods, "x": X_AXES, "window": window, "target": None if pd.isna(target) else target}
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")


def _line(line: pd.DataFrame) -> dict[str, list]:
    known = line.astype(object).where(line.notna(), None).reset_index()
    return {column: known[column].tolist() for column in known}


def _color(number: int) -> int:
    """Of the ten line colours of `report.css`."""
    return number % 10
