"use strict";
/* The page: charts with their buttons, tables and downloads, the theme. */

/** A picture of a series for its button: a marker, on a piece of its line where it has lines. */
function keyOf(series, lines) {
  const line = svg("path", { class: "line", d: "M1,8H33", "stroke-dasharray": dashesOf(series, 2) });
  const dot = marker(series.marker, lines ? 3.4 : 4.4, 17, 8, "dot");
  const group = svg("g", { class: "series" }, lines ? [line, dot] : [dot]);
  group.style.setProperty("--c", series.color);
  return svg("svg", { class: "key", viewBox: "0 0 34 16", width: 34, height: 16, "aria-hidden": "true" }, [group]);
}

function toggle(key, text, pressed, act) {
  const button = html("button", { type: "button", class: "toggle", "aria-pressed": String(pressed) }, [key, text]);
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    act(on);
  });
  return button;
}

/** The buttons of a figure: one a series, one for bands, one for what was published. */
function legend(panels, state, redraw, holders) {
  const series = new Map(panels.flatMap((panel) => panel.series).map((s) => [s.name, s]));
  const lines = panels.some((panel) => !panel.labels && !panel.box);
  const buttons = [...series.values()].map((s) => {
    const button = toggle(keyOf(s, lines), s.name, true, (on) => {
      if (on) state.hidden.delete(s.name);
      else state.hidden.add(s.name);
      redraw();
    });
    const stress = (on) => holders.forEach((holder, i) => {
      const index = panels[i].series.findIndex((other) => other.name === s.name);
      emphasize(holder, on && index >= 0 && !state.hidden.has(s.name) ? index : null);
    });
    button.addEventListener("pointerenter", () => stress(true));
    button.addEventListener("pointerleave", () => stress(false));
    return button;
  });
  if (panels.some((panel) => panel.series.some((s) => s.points.some(isSpread)))) {
    const key = svg("svg", { class: "key", viewBox: "0 0 22 16", width: 22, height: 16, "aria-hidden": "true" });
    key.append(svg("rect", { class: "swatch", x: 1, y: 3, width: 20, height: 10 }));
    buttons.push(toggle(key, panels[0].band, true, (on) => { state.band = on; redraw(); }));
  }
  if (panels.some((panel) => panel.series.some((s) => s.published.length))) {
    const key = svg("svg", { class: "key", viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" });
    key.append(svg("line", { class: "whisker", x1: 8, x2: 8, y1: 0, y2: 16 }), marker("o", 5.2, 8, 8, "published"));
    buttons.push(toggle(key, "published", true, (on) => { state.published = on; redraw(); }));
  }
  return html("div", { class: "legend", role: "group", "aria-label": "What the chart shows" }, buttons);
}

/** Whether the runs behind a point differ. */
const isSpread = ([, , low, high, , more]) => low !== high || (more !== undefined && more.xlow !== more.xhigh);

/** Two buttons that choose the scale of the y axis. */
function scaleSwitch(panel, choose) {
  const buttons = ["linear", panel.symlog ? "symlog" : "log"].map((kind) => {
    const button = html("button", { type: "button", "aria-pressed": String(kindOf(panel) === kind) }, [kind]);
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      choose(kind);
    });
    return button;
  });
  const shown = { band: true, published: true };
  buttons[1].disabled = !panel.symlog && !heights(panel.series, shown, "log").length;
  return html("div", { class: "switch", role: "group", "aria-label": `Scale of ${panel.ylabel}` }, buttons);
}

/** What a panel shows, for who does not see it, and how to ask it for values. */
function panelText(panel) {
  if (panel.heat) return `${panel.heat.label} by ${panel.ylabel} over ${panel.xlabel}: ${panel.heat.heading}. Arrow keys go from cell to cell`;
  return `${panel.ylabel} over ${panel.xlabel}. Left and right go from point to point, up and down from series to series`;
}

/** One panel: its title, its scale, its plot; returns the parts and how to draw it again. */
function makePanel(panel, state, title) {
  let kind = kindOf(panel);
  let drawn = null;
  const tip = html("div", { class: "tip", role: "status", hidden: "" });
  const holder = html("div", {
    class: "plot", tabindex: "0", role: "application", "aria-roledescription": "chart",
    "aria-label": `${title}: ${panelText(panel)}.`,
  }, [tip]);
  const note = html("p", { class: "note", hidden: "" });
  const hide = inspect(holder, tip, panel, state, () => drawn);
  function draw() {
    const width = Math.round(holder.clientWidth);
    if (!width) return;
    hide();
    const made = drawChart(panel, state, kind, width);
    if (drawn) drawn.picture.replaceWith(made.picture);
    else holder.prepend(made.picture);
    drawn = made;
    const rows = made.series.flatMap((s) => [...s.points, ...(state.published ? s.published : [])]);
    const lost = panel.heat ? 0 : rows.filter((row) => row[0] !== null && row[1] !== null && !made.can(row)).length;
    const nameless = made.names?.left ?? 0;
    const notes = [
      lost ? `Not on a logarithmic axis: ${lost} ${lost === 1 ? "value" : "values"} of zero or below.` : "",
      nameless ? `${nameless} ${nameless === 1 ? "name has" : "names have"} no room here: point at a marker to read its own.` : "",
    ];
    note.textContent = notes.join(" ").trim();
    note.hidden = note.textContent === "";
  }
  const caption = html("figcaption", {}, [
    html("span", { class: "ylabel" }, [panel.heat ? `${panel.heat.label}: ${panel.heat.heading}` : panel.ylabel]),
    ...(panel.heat ? [] : [scaleSwitch(panel, (chosen) => { kind = chosen; draw(); })]),
  ]);
  new ResizeObserver(() => { if (!drawn || drawn.width !== Math.round(holder.clientWidth)) draw(); }).observe(holder);
  const sizes = [...(panel.area ? [sizesOf(panel.area)] : []), ...(panel.heat ? [colorBar(panel)] : [])];
  return { figure: html("figure", { class: panel.labels ? "panel wide" : "panel" }, [caption, holder, ...sizes, note]), holder, draw };
}

function makeChart(chart) {
  const panels = JSON.parse(chart.querySelector("script.chart-data").textContent);
  const state = { hidden: new Set(), band: true, published: true };
  const made = panels.map((panel) => makePanel(panel, state, chart.dataset.title));
  const withLegend = panels.filter((panel) => !panel.heat);
  const holders = made.filter((_, i) => !panels[i].heat).map((part) => part.holder);
  if (withLegend.length) chart.append(legend(withLegend, state, () => made.forEach((part) => part.draw()), holders));
  chart.append(html("div", { class: "panels" }, made.map((part) => part.figure)));
  const thumbnail = document.querySelector(`svg.thumbnail[data-of="${CSS.escape(chart.dataset.figure)}"]`);
  if (thumbnail && !chart.closest("details")) drawThumbnail(panels[0], thumbnail);
}

/** The rows of a CSV text; quoted fields may hold commas, quotes and line breaks. */
function parseCsv(text) {
  const rows = [[]];
  const field = /("(?:[^"]|"")*"|[^,\r\n]*)(,|\r?\n|$)/y;
  while (field.lastIndex < text.length) {
    const [, raw, end] = field.exec(text);
    rows[rows.length - 1].push(raw.startsWith('"') ? raw.slice(1, -1).replaceAll('""', '"') : raw);
    if (end && end !== ",") rows.push([]);
    else if (!end) break;
  }
  return rows.filter((row) => row.length);
}

const MOST_ROWS = 500; // of a table on the page; the CSV has them all

function fillTable(details, text) {
  const [head, ...rows] = parseCsv(text);
  const numeric = head.map((_, i) => rows.every((row) => row[i] === "" || !Number.isNaN(Number(row[i]))));
  const cell = (name, value, i) => html(name, numeric[i] ? { class: "n" } : {}, [value ?? ""]);
  const titles = head.map((value, i) => { const th = cell("th", value, i); th.scope = "col"; return th; });
  const body = rows.slice(0, MOST_ROWS).map((row) => html("tr", {}, row.map((value, i) => cell("td", value, i))));
  const table = html("table", {}, [html("thead", {}, [html("tr", {}, titles)]), html("tbody", {}, body)]);
  details.querySelector(".scroll").replaceChildren(table);
  if (rows.length > MOST_ROWS) {
    details.append(html("p", { class: "note" }, [`The first ${MOST_ROWS} of ${rows.length} rows; the CSV has them all.`]));
  }
}

function makeTable(details) {
  const csv = details.querySelector("script.csv-data");
  const text = () => JSON.parse(csv.textContent);
  details.addEventListener("toggle", () => fillTable(details, text()), { once: true });
  const button = document.querySelector(`button.csv[data-file="${CSS.escape(csv.dataset.file)}"]`);
  button.addEventListener("click", () => {
    const link = html("a", { download: csv.dataset.file, href: URL.createObjectURL(new Blob([text()], { type: "text/csv" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

/** A button that turns light into dark and back; a choice is remembered where the browser allows it. */
function makeTheme(button) {
  const root = document.documentElement;
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : preferred.matches);
  const label = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Change to ${dark() ? "light" : "dark"} colours`); };
  try { const kept = localStorage.getItem("lbsim-theme"); if (kept) root.dataset.theme = kept; } catch { /* no storage */ }
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("lbsim-theme", root.dataset.theme); } catch { /* no storage */ }
    label();
  });
  preferred.addEventListener("change", label);
  label();
}

document.documentElement.classList.add("js");
makeTheme(document.querySelector("#theme"));
document.querySelectorAll(".chart").forEach(makeChart);
document.querySelectorAll("details.table").forEach(makeTable);
