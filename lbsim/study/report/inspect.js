"use strict";
/* Values on demand: the point nearest to the pointer, or, by the arrow keys, point after point. */

/** The rows of a series by name, else by x: what was simulated and what was published there. */
function rowsOf(series, state, can) {
  const rows = new Map();
  for (const point of series.points.filter(can)) {
    const name = point[5]?.label ?? "";
    rows.set(name || point[0], { name, x: point[0], point });
  }
  for (const row of state.published ? series.published.filter(can) : []) {
    const name = row[4]?.label ?? "";
    rows.set(name || row[0], { name, x: row[0], ...rows.get(name || row[0]), published: row });
  }
  return [...rows.values()].sort((a, b) => a.x - b.x);
}

/** The series and row whose marker is nearest to a place in the picture. */
function nearest(drawn, state, px, py) {
  let best = null;
  drawn.series.forEach((series, order) => {
    rowsOf(series, state, drawn.can).forEach((row, k) => {
      for (const marked of [row.point, row.published]) {
        if (!marked) continue;
        const distance = Math.hypot(drawn.x(marked[0]) - px, drawn.y(marked[1]) - py);
        if (!best || distance < best.distance) best = { distance, order, k };
      }
    });
  });
  return best;
}

function percent(part, whole) {
  const change = 100 * (part / whole - 1);
  const digits = Math.abs(change) < 10 ? 1 : 0;
  return `${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(digits)} %`;
}

/** The lines of the tip: a name, a text, and whether it belongs to the line above. */
function describe(panel, row) {
  if (panel.heat) return describeCell(panel, row);
  const { unit } = unitOf(panel.ylabel);
  const withUnit = (v) => `${numberText(v)} ${unit}`.trim();
  const lines = [];
  if (panel.labels) return describePoint(panel, row);
  if (row.point) {
    const [, middle, low, high, n, more] = row.point; // more: of a box
    lines.push(["simulated", withUnit(middle)]);
    if (low !== null && low !== high) lines.push([panel.band, `${numberText(low)} to ${numberText(high)}`, true]);
    if (panel.box?.tail) lines.push([panel.box.tail, numberText(more.mark), true]);
    if (n > 1) lines.push(["runs", numberText(n), true]);
  }
  if (row.published) {
    const [, value, low, high] = row.published;
    lines.push(["published", withUnit(value)]);
    if (low !== null && low !== high) lines.push(["p25 to p75", `${numberText(low)} to ${numberText(high)}`, true]);
    if (row.point && value !== 0) lines.push(["difference", percent(row.point[1], value)]);
  }
  return lines;
}

/** "offered load 3 Gb/s". */
function axisText(label, value) {
  const { name, unit } = unitOf(label);
  return `${name} ${numberText(value, 6)} ${unit}`.trim();
}

/** The lines of the tip of a cell of a heat map. */
function describeCell(panel, row) {
  const [, , value, n] = row.point;
  const { name, unit } = unitOf(panel.heat.label);
  const lines = [[name, `${numberText(value)} ${unit}`.trim()]];
  if (n > 1) lines.push(["runs", numberText(n), true]);
  return lines;
}

/** The lines of the tip of a named point: both coordinates with their spread, then its area. */
function describePoint(panel, row) {
  const lines = [];
  const add = (label, value, low, high, spread) => {
    const { name, unit } = unitOf(label);
    lines.push([name, `${numberText(value)} ${unit}`.trim()]);
    if (low !== null && low !== high) lines.push([spread, `${numberText(low)} to ${numberText(high)}`, true]);
  };
  if (row.point) {
    const [x, middle, low, high, n, more] = row.point;
    add(panel.xlabel, x, more.xlow, more.xhigh, panel.band);
    add(panel.ylabel, middle, low, high, panel.band);
    if (panel.area) add(panel.area.label, more.area, null, null);
    if (n > 1) lines.push(["runs", numberText(n)]);
  }
  if (row.published) {
    const [x, value, low, high] = row.published;
    add(`published, ${panel.xlabel}`, x, null, null);
    add(`published, ${panel.ylabel}`, value, low, high, "p25 to p75");
  }
  return lines;
}

/** Let a plot answer: `view()` gives what is drawn now; `holder` takes focus, `tip` shows the values. */
function inspect(holder, tip, panel, state, view) {
  let current = null; // { order, k } of the row shown

  function hide() {
    current = null;
    tip.hidden = true;
    view()?.cursor.replaceChildren();
    emphasize(holder, null);
  }

  function show(order, k) {
    const drawn = view();
    const series = drawn.series[order];
    if (!series) return hide();
    const rows = rowsOf(series, state, drawn.can);
    if (!rows.length) return hide();
    k = Math.min(Math.max(k, 0), rows.length - 1);
    current = { order, k };
    const row = rows[k];
    const [px, py] = [drawn.x(row.x), drawn.y((row.point ?? row.published)[1])];
    const ring = marker("o", 9, px, py, "halo");
    ring.style.setProperty("--c", series.color);
    const mark = drawn.mark?.(row) ?? [svg("line", { x1: px, x2: px, y1: drawn.box.top, y2: drawn.box.bottom }), ring];
    drawn.cursor.replaceChildren(...mark);
    emphasize(holder, series.index);
    const name = html("strong", {}, [row.name || series.name]);
    name.style.setProperty("--c", series.color);
    const line = ([term, text, below]) => html("div", below ? { class: "below" } : {}, [html("dt", {}, [term]), html("dd", {}, [text])]);
    const list = html("dl", {}, describe(panel, row).map(line));
    tip.replaceChildren(name, html("p", {}, [panel.labels ? series.name : axisText(panel.xlabel, row.x)]), list);
    tip.hidden = false;
    place(drawn, px, py);
    return undefined;
  }

  /** Put the tip beside the point, or above or below it where the plot is narrow. */
  function place(drawn, px, py) {
    const ratio = holder.clientWidth / drawn.width;
    const [x, y] = [px * ratio, py * ratio];
    const [wide, high] = [tip.offsetWidth, tip.offsetHeight];
    const [right, bottom] = [holder.clientWidth - wide, holder.clientHeight - high];
    const within = (value, most) => Math.max(0, Math.min(value, most));
    let left = x + 18 <= right ? x + 18 : x - 18 - wide;
    let top = within(y - high / 2, bottom);
    if (left < 0) [left, top] = [within(x - wide / 2, right), y - 18 - high >= 0 ? y - 18 - high : y + 18];
    tip.style.left = `${left}px`;
    tip.style.top = `${top}px`;
  }

  function point(event) {
    const drawn = view();
    const frame = drawn.picture.getBoundingClientRect();
    const ratio = drawn.width / frame.width;
    const found = nearest(drawn, state, (event.clientX - frame.left) * ratio, (event.clientY - frame.top) * ratio);
    if (found) show(found.order, found.k);
  }

  function key(event) {
    const count = view().series.length;
    if (!count || event.altKey || event.ctrlKey || event.metaKey) return;
    const { order, k } = current ?? { order: 0, k: 0 };
    const last = rowsOf(view().series[order], state, view().can).length - 1;
    const moves = {
      ArrowRight: [order, k + 1], ArrowLeft: [order, k - 1], Home: [order, 0], End: [order, last],
      ArrowDown: [(order + 1) % count, k], ArrowUp: [(order + count - 1) % count, k],
    };
    if (event.key === "Escape") hide();
    else if (moves[event.key]) {
      event.preventDefault();
      show(...moves[event.key]);
    }
  }

  holder.addEventListener("pointermove", point);
  holder.addEventListener("pointerdown", point);
  holder.addEventListener("pointerleave", () => { if (document.activeElement !== holder) hide(); });
  holder.addEventListener("keydown", key);
  holder.addEventListener("focus", () => { if (!current && holder.matches(":focus-visible")) show(0, 0); });
  holder.addEventListener("blur", hide);
  return hide;
}

/** Let one series stand out, or none. */
function emphasize(holder, index) {
  for (const group of holder.querySelectorAll(".picture .series")) {
    group.classList.toggle("quiet", index !== null && group.dataset.index !== String(index));
  }
}
