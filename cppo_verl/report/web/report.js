"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const chart = document.getElementById("chart");
const dark = matchMedia("(prefers-color-scheme: dark)");
const coarse = matchMedia("(pointer: coarse)");

// --- the curves ---

const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const Y = {
  accuracy: { title: "validation accuracy (%)", unit: " %", digits: ".1f", mode: "lines+markers" },
  reward: { title: "reward", unit: "", digits: ".2f", mode: "lines" },
};
const X_UNIT = { seconds: " s", questions: " questions", updates: " updates" };

function traces(method, x, y) {
  const line = method.lines[y], own = color(`line-${method.color}`), style = Y[y];
  const known = line.low.map((low, i) => i).filter((i) => line.low[i] !== null);
  const back = [...known].reverse();
  const band = {
    x: [...known.map((i) => line[x][i]), ...back.map((i) => line[x][i])],
    y: [...known.map((i) => line.low[i]), ...back.map((i) => line.high[i])],
    fill: "toself", fillcolor: own, opacity: 0.15, line: { width: 0 }, mode: "lines", hoverinfo: "skip",
  };
  const range = known.length ? ` (%{customdata[0]:${style.digits}} to %{customdata[1]:${style.digits}})` : "";
  const mean = {
    x: line[x], y: line.mean, mode: style.mode, line: { color: own, width: 2.5 }, marker: { size: 6 },
    customdata: line.low.map((low, i) => [low, line.high[i], line.step[i]]),
    hovertemplate:
      `<b>${method.label.replaceAll("<", "&lt;")}</b><br>%{y:${style.digits}}${style.unit}${range}<br>` +
      `after %{x:,.0f}${X_UNIT[x]}, step %{customdata[2]}<extra></extra>`,
  };
  return known.length ? [band, mean] : [mean];
}

function layout(x, y) {
  const ink = color("ink"), rule = color("rule"), page = color("page");
  const axis = { gridcolor: rule, zerolinecolor: rule, linecolor: rule, automargin: true, fixedrange: coarse.matches };
  const target = y === "accuracy" && data.target !== null ? data.target : null;
  return {
    showlegend: false, hovermode: "closest", dragmode: coarse.matches ? false : "zoom",
    paper_bgcolor: page, plot_bgcolor: page, margin: { l: 50, r: 10, t: 10, b: 45 },
    font: { color: ink, family: "system-ui, sans-serif", size: 13 },
    hoverlabel: { bgcolor: color("raised"), bordercolor: rule, font: { color: ink }, align: "left" },
    xaxis: { ...axis, title: { text: data.x[x] }, rangemode: "tozero" },
    yaxis: { ...axis, title: { text: Y[y].title } },
    shapes: target === null ? [] : [
      { type: "line", xref: "paper", x0: 0, x1: 1, y0: target, y1: target, line: { color: ink, width: 1, dash: "dash" } },
    ],
    annotations: target === null ? [] : [
      { xref: "paper", x: 0, xanchor: "left", y: target, yanchor: "bottom", showarrow: false,
        text: `target: ${target.toFixed(1)} %`, font: { color: ink } },
    ],
  };
}

function caption(shown, y) {
  const parts = y === "reward" ? [`of all sampled completions, mean of the last ${data.window} questions`] : [];
  if (shown.some((method) => method.runs > 1)) parts.push("band: lowest to highest of the seeds, line: their mean");
  if (y === "accuracy" && shown.some((method) => method.runs === 1)) {
    parts.push("band of a single run: 95 % Wilson interval over the questions");
  }
  return parts.join("; ");
}

function draw() {
  const x = chosen("x"), y = chosen("y");
  const on = [...document.querySelectorAll("input[name=method]:checked")].map((box) => data.methods[box.value]);
  const lines = on.flatMap((method) => traces(method, x, y));
  Plotly.react(chart, lines, layout(x, y), { responsive: true, displayModeBar: false });
  document.getElementById("caption").textContent = caption(on, y);
}

document.querySelectorAll(".controls input, .switches input").forEach((input) => input.addEventListener("change", draw));
[dark, coarse].forEach((query) => query.addEventListener("change", draw));
if (chart) draw();

// --- the tables ---

const ORDER = { none: "ascending", ascending: "descending", descending: "none" };

function key(cell) {
  const text = cell.textContent.trim();
  if (text === "-" || text === "") return null;
  if (!cell.classList.contains("number")) return text;
  return /^(never|\u221e)/.test(text) ? Infinity : parseFloat(text.replaceAll(",", ""));
}

function compare(a, b) {
  return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a === b ? 0 : a - b;
}

function sort(table, column, order) {
  const body = table.tBodies[0];
  body.written ??= [...body.rows];
  const rows = body.written.map((row) => [key(row.cells[column]), row]);
  const sign = order === "descending" ? -1 : 1;
  // What is not known stays at the end, whichever way.
  if (order !== "none") rows.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)));
  body.append(...rows.map(([, row]) => row));
}

document.querySelectorAll("th button").forEach((button) => {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = button.closest("table");
    const order = ORDER[head.ariaSort ?? "none"];
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    if (order !== "none") head.setAttribute("aria-sort", order);
    sort(table, head.cellIndex, order);
  });
});
