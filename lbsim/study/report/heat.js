"use strict";
/* Heat maps: a cell for every x and y, its colour tells the value; cells that are missing show the paper. */

const EDGE = 15; // px from a y axis to its rotated title

/** The colour of a value: between the two stops it lies between. */
function heatColor({ colors, range: [low, high] }, value) {
  const place = Math.min(Math.max((value - low) / (high - low), 0), 1) * (colors.length - 1);
  const k = Math.min(Math.floor(place), colors.length - 2);
  const part = (color, i) => parseInt(color.slice(1 + 2 * i, 3 + 2 * i), 16);
  const mixed = [0, 1, 2].map((i) => Math.round(part(colors[k], i) + (place - k) * (part(colors[k + 1], i) - part(colors[k], i))));
  return `rgb(${mixed.join(" ")})`;
}

/** The edges of cells around ordered centres: halfway between them, and as far outside the ends. */
function edgesOf(centres) {
  const [first, last] = [centres[0], centres[centres.length - 1]];
  if (centres.length < 2) return [first - 0.5, first + 0.5];
  const inner = centres.slice(1).map((value, i) => (value + centres[i]) / 2);
  return [2 * first - inner[0], ...inner, 2 * last - inner[inner.length - 1]];
}

/** The cells of a panel as rows from top to bottom, each a series for who asks for values, and their edges. */
function gridOf(panel) {
  const cells = panel.series[0].points;
  const values = (k) => [...new Set(cells.map((cell) => cell[k]))].sort((a, b) => a - b);
  const [xs, ys] = [values(0), values(1)];
  const rowAt = new Map(ys.map((y) => [y, []]));
  for (const cell of cells) rowAt.get(cell[1]).push(cell);
  const rows = [...ys].reverse().map((y, index) => (
    { name: axisText(panel.ylabel, y), index, color: "var(--muted)", points: rowAt.get(y), published: [] }));
  return { xs, ys, rows, xEdges: edgesOf(xs), yEdges: edgesOf(ys) };
}

/** All cells, each a rectangle that knows its corners. */
function drawCells({ heat }, { xs, ys, rows, xEdges, yEdges }, x, y) {
  const [column, line] = [xs, ys].map((values) => new Map(values.map((value, i) => [value, i])));
  const box = ([cx, cy]) => {
    const [i, j] = [column.get(cx), line.get(cy)];
    return { x: x(xEdges[i]), y: y(yEdges[j + 1]), width: x(xEdges[i + 1]) - x(xEdges[i]), height: y(yEdges[j]) - y(yEdges[j + 1]) };
  };
  const cells = rows.flatMap((row) => row.points).map((cell) => svg("rect", { class: "cell", ...box(cell), fill: heatColor(heat, cell[2]) }));
  return { group: svg("g", { class: "cells" }, cells), box };
}

/** Draw a heat map; returns the picture and where everything in it is, as drawChart does. */
function drawHeat(panel, width) {
  const height = Math.round(Math.min(440, Math.max(300, width * 0.56)));
  const grid = gridOf(panel);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "picture heat" });
  const cursor = svg("g", { class: "cursor" });
  if (!grid.xs.length) {
    picture.append(svg("text", { class: "empty", x: width / 2, y: height / 2 }, ["nothing to show"]), cursor);
    return { panel, series: [], width, picture, cursor };
  }
  const whole = grid.ys.every(Number.isInteger);
  const yDomain = [grid.yEdges[0], grid.yEdges[grid.ys.length]];
  const xDomain = [grid.xEdges[0], grid.xEdges[grid.xs.length]];
  const yTicks = linearTicks(yDomain, Math.floor((height - 60) / 28)).filter((v) => !whole || Number.isInteger(v));
  const left = EDGE + 14 + 7 * Math.max(...yTicks.map((v) => numberText(v, 6).length));
  const box = { left, right: width - 10, top: 12, bottom: height - 48 };
  const x = scaleOf("linear", xDomain, [box.left, box.right]);
  const y = scaleOf("linear", yDomain, [box.bottom, box.top]);
  const at = { panel, box, x, y, yDomain, yTicks, xTicks: xTicks(panel.xticks, [], xDomain, x), kind: "linear" };
  const cells = drawCells(panel, grid, x, y);
  const middle = (box.top + box.bottom) / 2;
  const title = svg("text", { class: "title", x: EDGE, y: middle, transform: `rotate(-90 ${EDGE} ${middle})` }, [panel.ylabel]);
  picture.append(drawAxes(panel, at), cells.group, title, cursor);
  const mark = (row) => ["around", "chosen"].map((kind) => svg("rect", { class: kind, ...cells.box(row.point) }));
  return { ...at, series: grid.rows, width, height, picture, cursor, mark, can: () => true };
}

/** The colour bar of a heat map. */
function colorBar({ heat }) {
  const { unit } = unitOf(heat.label);
  const bar = html("span", { class: "colors", "aria-hidden": "true" });
  bar.style.background = `linear-gradient(to right, ${heat.colors.join(", ")})`;
  const [low, high] = heat.range.map((value) => html("span", {}, [`${numberText(value)} ${unit}`.trim()]));
  return html("div", { class: "scale" }, [low, bar, high]);
}
