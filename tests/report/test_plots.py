"""The report's pictures: what is drawn can be read."""

from __future__ import annotations

import pytest

from cppo_verl.report import plots
from cppo_verl.report.target import to_target

LONG = "x" * 60


@pytest.mark.parametrize(("labels", "columns"), [([LONG] * 15, 1), (["GRPO", "CPPO"], 2), ([], 1)])
def test_the_legend_has_as_many_columns_as_fit(labels, columns):
    assert plots.legend_columns(labels, width=9) == columns


def test_the_legend_is_within_the_picture(grouped, tmp_path, monkeypatch):
    """Also of many rows with long names."""
    drawn = []
    monkeypatch.setattr(plots.Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    runs = {"grpo": {"accuracies": (0.3, 0.6)}}
    for metric in ("smallest_raw", "largest_raw", "random", "max_variance", "distinct"):
        for mini_batch in ("completions", "questions"):
            options = {"metric": metric, "mini_batch": mini_batch}
            runs[f"{metric}_{mini_batch}"] = {"rate": 0.5, "steps": 2, "accuracies": (0.3, 0.7), **options}
    groups = grouped(runs)
    plots.plot_time_to_accuracy(groups, to_target(groups, 0.5), tmp_path / "picture.png")
    (figure,) = drawn
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
