"use strict";
/* A chart: lines with bands for what was simulated, rings with whiskers for what was published. */

const SVG = (() => {
  const holder = document.createElement("div");
  holder.innerHTML = "<svg></svg>";
  return holder.firstChild.namespaceURI;
})();

/** A new SVG element. */
function svg(name, attributes = {}, children = []) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A new HTML element. */
function html(name, attributes = {}, children = []) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function polygon(corners, r) {
  return `M${corners.map(([x, y]) => `${(x * r).toFixed(2)},${(y * r).toFixed(2)}`).join("L")}Z`;
}

const ARM = 0.38; // half the width of an arm of a cross
const CROSS = [
  [-ARM, -1], [ARM, -1], [ARM, -ARM], [1, -ARM], [1, ARM], [ARM, ARM],
  [ARM, 1], [-ARM, 1], [-ARM, ARM], [-1, ARM], [-1, -ARM], [-ARM, -ARM],
];
const turn = ([x, y]) => [(x - y) * 0.75, (x + y) * 0.75];
const sixth = (k) => [Math.sin((k * Math.PI) / 3), -Math.cos((k * Math.PI) / 3)];
const SHAPES = {
  s: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
  "^": [[0, -1.15], [1.05, 0.8], [-1.05, 0.8]],
  v: [[0, 1.15], [1.05, -0.8], [-1.05, -0.8]],
  D: [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]],
  P: CROSS,
  X: CROSS.map(turn),
  h: [0, 1, 2, 3, 4, 5].map(sixth),
};

/** A marker of radius `r`; unknown shapes are circles. */
function marker(shape, r, x, y, kind) {
  const path = SHAPES[shape] ? polygon(SHAPES[shape], r) : `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`;
  return svg("path", { d: path, class: kind, transform: `translate(${x.toFixed(2)},${y.toFixed(2)})` });
}

/** Stretches of consecutive points that can be joined. */
function stretches(points, drawable) {
  const found = [[]];
  for (const point of points) {
    if (drawable(point)) found[found.length - 1].push(point);
    else if (found[found.length - 1].length) found.push([]);
  }
  return found.filter((part) => part.length);
}

const dashesOf = (series, width) => series.dashes.map((part) => (part * width).toFixed(1)).join(" ");

/** The series of a panel that are switched on, with their place in the list. */
function shownSeries(panel, state) {
  return panel.series.map((series, index) => ({ ...series, index })).filter((s) => !state.hidden.has(s.name));
}

/** Everything that has a height in the chart: lines, bands and, if shown, what was published. */
function heights(series, state, log) {
  const rows = series.flatMap((s) => [
    ...s.points.flatMap(([, middle, low, high]) => (state.band ? [middle, low, high] : [middle])),
    ...(state.published ? s.published.flatMap(([, value, low, high]) => [value, low, high]) : []),
  ]);
  return rows.filter((v) => v !== null && (!log || v > 0));
}

/** Where things are: margins, domains and scales of a panel at a width. */
function layout(panel, state, log, width) {
  const series = shownSeries(panel, state);
  const height = Math.round(Math.min(440, Math.max(300, width * 0.56)));
  const most = Math.max(3, Math.floor((height - 60) / 36));
  const values = heights(series.length ? series : panel.series, state, log);
  const fixed = panel.ylim && log === panel.log && (!log || panel.ylim[0] > 0);
  const marked = panel.rule !== null && (!log || panel.rule > 0) ? [panel.rule] : [];
  const yDomain = fixed ? panel.ylim : domainOf([...values, ...marked], log, most);
  const yTicks = log ? logTicks(yDomain, most + 2) : linearTicks(yDomain, most);
  const left = 14 + 7 * Math.max(...yTicks.map((v) => numberText(v, 6).length));
  const box = { left, right: width - 10, top: 12, bottom: height - 48 };
  const every = panel.series.flatMap((s) => [...s.points, ...s.published].map(([x]) => x));
  const xs = [...new Set(every.filter((x) => x !== null))].sort((a, b) => a - b);
  let xDomain = [xs[0] ?? 0, xs[xs.length - 1] ?? 1];
  if (xDomain[0] === xDomain[1]) xDomain = [xDomain[0] - 1, xDomain[1] + 1];
  const x = scaleOf(false, xDomain, [box.left + 12, box.right - 12]);
  const y = scaleOf(log, yDomain, [box.bottom, box.top]);
  return { series, height, width, log, box, x, y, yDomain, yTicks, xTicks: xTicks(panel.xticks, xs, xDomain, x) };
}

function drawAxes(panel, at) {
  const { box } = at;
  const parts = [];
  if (at.log) {
    const faint = powers(at.yDomain, [2, 3, 4, 5, 6, 7, 8, 9]).filter((v) => !at.yTicks.includes(v));
    for (const v of faint) parts.push(svg("line", { class: "tick", x1: box.left - 3, x2: box.left, y1: at.y(v), y2: at.y(v) }));
  }
  for (const v of at.yTicks) {
    parts.push(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: at.y(v), y2: at.y(v) }));
    parts.push(svg("text", { class: "y", x: box.left - 7, y: at.y(v), dy: "0.35em" }, [numberText(v, 6)]));
  }
  parts.push(svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  for (const v of at.xTicks) {
    parts.push(svg("line", { class: "axis", x1: at.x(v), x2: at.x(v), y1: box.bottom, y2: box.bottom + 5 }));
    parts.push(svg("text", { class: "x", x: at.x(v), y: box.bottom + 19 }, [numberText(v, 6)]));
  }
  parts.push(svg("text", { class: "title", x: (box.left + box.right) / 2, y: box.bottom + 40 }, [panel.xlabel]));
  const rule = panel.rule;
  if (rule !== null && rule >= at.yDomain[0] && rule <= at.yDomain[1]) {
    const text = `${numberText(rule)} ${unitOf(panel.ylabel).unit}`.trim();
    parts.push(svg("line", { class: "rule", x1: box.left, x2: box.right, y1: at.y(rule), y2: at.y(rule) }));
    parts.push(svg("text", { class: "rule", x: box.left + 6, y: at.y(rule) - 5 }, [text]));
  }
  return svg("g", { class: "axes", "aria-hidden": "true" }, parts);
}

/** One series: band below, line, then rings of published values, then a dot for every simulated one. */
function drawSeries(series, state, at) {
  const [bottom, top] = at.yDomain;
  const can = (v) => v !== null && (!at.log || v > 0);
  const place = (v) => at.y(Math.min(Math.max(v, at.log ? bottom / 2 : v), at.log ? top * 2 : v));
  const pair = (x, v) => `${at.x(x).toFixed(2)},${place(v).toFixed(2)}`;
  const parts = [];
  if (state.band) {
    const wide = stretches(series.points, ([, , low, high]) => low !== null && can(high));
    for (const part of wide.filter((p) => p.length > 1)) {
      const above = part.map(([x, , , high]) => pair(x, high));
      const below = part.map(([x, , low]) => pair(x, low)).reverse();
      parts.push(svg("path", { class: "band", d: `M${[...above, ...below].join("L")}Z` }));
    }
  }
  for (const part of stretches(series.points, ([, middle]) => can(middle))) {
    const d = `M${part.map(([x, middle]) => pair(x, middle)).join("L")}`;
    parts.push(svg("path", { class: "line", d, "stroke-dasharray": dashesOf(series, 2) }));
  }
  if (state.published) {
    for (const [x, value, low, high] of series.published.filter((row) => can(row[1]))) {
      if (low !== null && can(high)) {
        parts.push(svg("line", { class: "whisker", x1: at.x(x), x2: at.x(x), y1: place(low), y2: place(high) }));
      }
      parts.push(marker(series.marker, 5.4, at.x(x), at.y(value), "published"));
    }
  }
  for (const [x, middle] of series.points.filter((row) => can(row[1]))) {
    parts.push(marker(series.marker, 3, at.x(x), at.y(middle), "dot"));
  }
  const group = svg("g", { class: "series", "data-index": series.index }, parts);
  group.style.setProperty("--c", series.color);
  return group;
}

/** Draw a panel; returns the picture and where everything in it is. */
function drawChart(panel, state, log, width) {
  const at = layout(panel, state, log, width);
  const { box } = at;
  const inner = svg(
    "svg", // clips what lies beyond a given range, with some room for markers on its edge
    {
      x: box.left, y: box.top - 7, width: box.right - box.left, height: box.bottom - box.top + 14,
      viewBox: `${box.left} ${box.top - 7} ${box.right - box.left} ${box.bottom - box.top + 14}`,
    },
    at.series.map((series) => drawSeries(series, state, at)),
  );
  const cursor = svg("g", { class: "cursor" });
  const picture = svg("svg", { viewBox: `0 0 ${width} ${at.height}`, class: "picture" }, [drawAxes(panel, at), inner, cursor]);
  if (!at.series.length) {
    const middle = { class: "empty", x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2 };
    picture.append(svg("text", middle, ["every series is hidden"]));
  }
  return { ...at, picture, cursor };
}

/** A small chart without axes, for the contents. */
function drawThumbnail(panel, picture) {
  const [width, height] = [240, 110];
  const state = { hidden: new Set(), band: false, published: false };
  const values = heights(panel.series, state, panel.log);
  const xs = panel.series.flatMap((s) => s.points.map(([x]) => x));
  const xDomain = [Math.min(...xs), Math.max(...xs)];
  const yDomain = panel.ylim ?? (panel.log ? [Math.min(...values), Math.max(...values)] : [0, Math.max(...values)]);
  const x = scaleOf(false, xDomain, [4, width - 4]);
  const y = scaleOf(panel.log, yDomain, [height - 6, 6]);
  for (const series of panel.series) {
    const group = svg("g", { class: "series" });
    group.style.setProperty("--c", series.color);
    const can = ([, middle]) => middle !== null && (!panel.log || middle > 0);
    for (const part of stretches(series.points, can)) {
      const d = `M${part.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join("L")}`;
      group.append(svg("path", { class: "line", d, "stroke-dasharray": dashesOf(series, 2) }));
    }
    picture.append(group);
  }
}
