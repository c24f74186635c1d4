"use strict";
/* A chart: lines with bands for what was simulated, hollow markers with whiskers for what was published. */

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

const MOST_STAIRS = 20; // dots of a staircase
const PUBLISHED_RADIUS = 5.4;

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

/** The scale that a study chose for the y axis of a panel. */
const kindOf = (panel) => (panel.symlog ? "symlog" : panel.log ? "log" : "linear");

/** Everything that has a height in the chart: lines, bands and, if shown, what was published. */
function heights(series, state, kind) {
  const rows = series.flatMap((s) => [
    ...s.points.flatMap(([, middle, low, high, , more]) => (state.band ? [middle, low, high, more?.mark ?? null] : [middle])),
    ...(state.published ? s.published.flatMap(([, value, low, high]) => [value, low, high]) : []),
  ]);
  return rows.filter((v) => fits(kind, v));
}

/** Where things are: margins, domains and scales of a panel at a width. */
function layout(panel, state, kind, width) {
  const series = shownSeries(panel, state);
  const least = panel.labels ? 380 : 300; // names need room
  const height = Math.round(Math.min(least + 140, Math.max(least, width * 0.56)));
  const most = Math.max(3, Math.floor((height - 60) / 36));
  const values = heights(series.length ? series : panel.series, state, kind);
  const fixed = panel.ylim && kind === kindOf(panel) && fits(kind, panel.ylim[0]);
  const marked = fits(kind, panel.rule) ? [panel.rule] : [];
  const yDomain = fixed ? panel.ylim : domainOf([...values, ...marked], kind, most, panel.symlog);
  const ticksOf = { linear: linearTicks, log: logTicks, symlog: symlogTicks }[kind];
  const yTicks = ticksOf(yDomain, most + { linear: 0, log: 2, symlog: 4 }[kind], panel.symlog);
  const left = 14 + 7 * Math.max(...yTicks.map((v) => numberText(v, 6).length));
  const box = { left, right: width - 10, top: 12, bottom: height - 48 };
  const xKind = panel.xlog ? "log" : "linear";
  const xs = places(panel, xKind);
  const xDomain = around(xs, xKind);
  const inset = panel.labels ? 30 : 12;
  const x = scaleOf(xKind, xDomain, [box.left + inset, box.right - inset]);
  const y = scaleOf(kind, yDomain, [box.bottom, box.top], panel.symlog);
  const ticks = xTicks(panel.xticks, panel.labels ? [] : xs, xDomain, x, xKind);
  const can = (row) => fits(xKind, row[0]) && fits(kind, row[1]);
  return { panel, series, height, width, kind, box, x, y, yDomain, yTicks, xTicks: ticks, can };
}

/** Every x of a panel, in order, with the ends of its bars. */
function places(panel, kind) {
  const rows = panel.series.flatMap((s) => [...s.points, ...s.published]);
  const every = rows.flatMap((row) => [row[0], row[5]?.xlow ?? null, row[5]?.xhigh ?? null]);
  return [...new Set(every.filter((x) => fits(kind, x)))].sort((a, b) => a - b);
}

/** The domain of ordered places; of one alone, with room beside it. */
function around(xs, kind) {
  if (!xs.length) return kind === "log" ? [1, 10] : [0, 1];
  const [low, high] = [xs[0], xs[xs.length - 1]];
  if (low < high) return [low, high];
  return kind === "log" ? [low / 2, low * 2] : [low - 1, low + 1];
}

function drawAxes(panel, at) {
  const { box } = at;
  const parts = [];
  if (at.kind === "log") {
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

/** The height of a value; what a logarithmic axis has no place for lies somewhere below. */
function heightOf(at, value) {
  const [bottom, top] = at.yDomain;
  return at.y(at.kind === "log" ? Math.min(Math.max(value, bottom / 2), top * 2) : value);
}

/** The corners "x,y" of a line through rows, at the value in column `k`; of a staircase if `step`. */
function corners(rows, k, step, x, y) {
  const corner = (place, value) => `${x(place).toFixed(2)},${y(value).toFixed(2)}`;
  return rows.flatMap((row, i) => {
    const here = corner(row[0], row[k]);
    return step && i > 0 ? [corner(row[0], rows[i - 1][k]), here] : [here];
  });
}

/** The line of a series with its band below and a dot for every value; of many steps, only for some. */
function drawLine(series, state, at) {
  const { step } = at.panel;
  const trace = (rows, k) => corners(rows, k, step, at.x, (v) => heightOf(at, v));
  const bands = state.band ? stretches(series.points, ([x, , low, high]) => low !== null && at.can([x, high])) : [];
  const every = step ? Math.ceil(series.points.length / MOST_STAIRS) : 1;
  const dots = series.points.filter((row, i) => i % every === 0 && at.can(row));
  return {
    under: [
      ...bands.filter((rows) => rows.length > 1).map((rows) => (
        svg("path", { class: "band", d: `M${[...trace(rows, 3), ...trace(rows, 2).reverse()].join("L")}Z` }))),
      ...stretches(series.points, at.can).map((rows) => (
        svg("path", { class: "line", d: `M${trace(rows, 1).join("L")}`, "stroke-dasharray": dashesOf(series, 2) }))),
    ],
    over: dots.map(([x, middle]) => marker(series.marker, 3, at.x(x), at.y(middle), "dot")),
  };
}

/** A vertical bar from low to high. */
function whisker(at, x, low, high, kind) {
  return svg("line", { class: kind, x1: at.x(x), x2: at.x(x), y1: heightOf(at, low), y2: heightOf(at, high) });
}

/** Boxes: each with a bar in the middle, and a marker at its tail if it has one. */
function drawBoxes(series, state, at) {
  const every = at.panel.series.flatMap((s) => s.points.map(([x]) => x));
  const xs = [...new Set(every)].sort((a, b) => a - b).map(at.x);
  const near = Math.min(...xs.slice(1).map((x, i) => x - xs[i]));
  const wide = Math.max(2, Math.min(0.6 * near, 24));
  const points = series.points.filter(at.can);
  const bar = ([x, middle]) => svg("line", { class: "middle", x1: at.x(x) - wide / 2, x2: at.x(x) + wide / 2, y1: at.y(middle), y2: at.y(middle) });
  if (!state.band) return { under: [], over: points.map(bar) };
  const tails = points.filter((row) => fits(at.kind, row[5].mark));
  return {
    under: points.filter(([, , , high]) => fits(at.kind, high)).map(([x, , low, high]) => svg("rect", {
      class: "box", x: at.x(x) - wide / 2, width: wide, y: heightOf(at, high), height: heightOf(at, low) - heightOf(at, high),
    })),
    over: [
      ...points.map(bar),
      ...tails.map(([x, , , high, , { mark }]) => whisker(at, x, high, mark, "bar")),
      ...tails.map(([x, , , , , { mark }]) => marker(series.marker, 2.4, at.x(x), at.y(mark), "dot")),
    ],
  };
}

/** One series: its line, its boxes or its points, and between what is under and over, hollow markers of published values. */
function drawSeries(series, state, at) {
  const drawKind = at.panel.labels ? drawPoints : at.panel.box ? drawBoxes : drawLine;
  const { under, over } = drawKind(series, state, at);
  const published = [];
  for (const [x, value, low, high] of state.published ? series.published.filter(at.can) : []) {
    if (low !== null && fits(at.kind, high)) published.push(whisker(at, x, low, high, "whisker"));
    published.push(marker(series.marker, PUBLISHED_RADIUS, at.x(x), at.y(value), "published"));
  }
  const group = svg("g", { class: "series", "data-index": series.index }, [...under, ...published, ...over]);
  group.style.setProperty("--c", series.color);
  return group;
}

/** Draw a panel; returns the picture and where everything in it is. */
function drawChart(panel, state, kind, width) {
  if (panel.heat) return drawHeat(panel, width);
  const at = layout(panel, state, kind, width);
  const { box } = at;
  if (panel.labels) at.names = nameAll(at, state);
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
  if (panel.heat) {
    const grid = gridOf(panel);
    const [x, y] = [[grid.xEdges, [4, width - 4]], [grid.yEdges, [height - 6, 6]]].map(([edges, range]) => (
      scaleOf("linear", [edges[0], edges[edges.length - 1]], range)));
    if (grid.xs.length) picture.append(drawCells(panel, grid, x, y).group);
    return;
  }
  const state = { hidden: new Set(), band: false, published: false };
  const [kind, xKind] = [kindOf(panel), panel.xlog ? "log" : "linear"];
  const values = heights(panel.series, state, kind);
  const xs = panel.series.flatMap((s) => s.points.map(([x]) => x)).filter((x) => fits(xKind, x));
  const xDomain = [Math.min(...xs), Math.max(...xs)];
  const yDomain = panel.ylim ?? [kind === "log" ? Math.min(...values) : 0, Math.max(...values)];
  const x = scaleOf(xKind, xDomain, [4, width - 4]);
  const y = scaleOf(kind, yDomain, [height - 6, 6], panel.symlog);
  for (const series of panel.series) {
    const group = svg("g", { class: "series" });
    group.style.setProperty("--c", series.color);
    const can = (row) => fits(xKind, row[0]) && fits(kind, row[1]);
    if (panel.labels) {
      group.append(...series.points.filter(can).map((row) => marker(series.marker, 2.6, x(row[0]), y(row[1]), "dot")));
    } else {
      for (const rows of stretches(series.points, can)) {
        const d = `M${corners(rows, 1, panel.step, x, y).join("L")}`;
        group.append(svg("path", { class: "line", d, "stroke-dasharray": dashesOf(series, 2) }));
      }
    }
    picture.append(group);
  }
}
