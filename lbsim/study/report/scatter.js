"use strict";
/* Points with names: markers, error bars, and areas that tell a third quantity. */

const NAME_SIZE = 11.5; // px

/** The radius of a marker with a share of the range of areas, or of one without an area. */
const radiusOf = (share) => (share === undefined ? 4.2 : Math.sqrt(9 + share * 76));

/** What has a place in the chart: simulated points and, if shown, published ones, with the name to write. */
function pointsOf(at, state) {
  return at.series.flatMap((series) => {
    const simulated = series.points.filter(at.can).map((row) => {
      const [x, y, low, high, , { label, share, xlow, xhigh }] = row;
      return { series: series.index, row, x, y, low, high, xlow, xhigh, radius: radiusOf(share), name: label };
    });
    const known = new Set(simulated.map((point) => point.name));
    const published = (state.published ? series.published : []).filter(at.can).map((row) => {
      const [x, y, low, high, more] = row;
      const name = known.has(more?.label) ? "" : more?.label ?? "";
      return { series: series.index, row, x, y, low, high, xlow: null, xhigh: null, radius: PUBLISHED_RADIUS, name };
    });
    return [...simulated, ...published];
  });
}

/** The error bars of a point that have a place: [x1, y1, x2, y2]. */
function barsOf(at, { x, y, low, high, xlow, xhigh }) {
  const bars = [];
  if (low !== null && low !== high && fits(at.kind, high)) bars.push([at.x(x), heightOf(at, high), at.x(x), heightOf(at, low)]);
  const least = at.panel.xlog ? 0 : -Infinity;
  if (xlow !== null && xlow !== xhigh && xlow > least) bars.push([at.x(xlow), at.y(y), at.x(xhigh), at.y(y)]);
  return bars;
}

/** Names of all points that have room: the SVG of each series by its index, and how many names are left out. */
function nameAll(at, state) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `${NAME_SIZE}px ${getComputedStyle(document.body).fontFamily}`;
  const { box } = at;
  const frame = [box.left, box.top - 7, box.right, box.bottom - 1];
  const points = pointsOf(at, state);
  const inside = ({ y }) => y >= at.yDomain[0] && y <= at.yDomain[1];
  const named = points.filter((point) => point.name && inside(point)).map((point) => ({
    ...point, x: at.x(point.x), y: at.y(point.y), wide: pen.measureText(point.name).width + 2, high: NAME_SIZE + 1,
  }));
  const marks = points.flatMap((point) => {
    const [x, y, r] = [at.x(point.x), at.y(point.y), point.radius];
    const bars = barsOf(at, point).map(([x1, y1, x2, y2]) => [x1 - 2, y1 - 2, x2 + 2, y2 + 2]);
    return [[x - r, y - r, x + r, y + r], ...(state.band ? bars : [])];
  });
  const bySeries = new Map(at.series.map((series) => [series.index, []]));
  const places = withRoom(placeNames(named, marks, frame));
  places.forEach((place, i) => {
    const { series, x, y, name } = named[i];
    if (!place) return;
    if (place.gap >= LEADER) bySeries.get(series).push(svg("line", { class: "lead", x1: x, y1: y, x2: place.x, y2: place.y }));
    bySeries.get(series).push(svg("text", { class: "name", x: place.x, y: place.y, dy: "0.35em" }, [name]));
  });
  return { bySeries, left: places.filter((place) => !place).length };
}

/** A series of named points: bars and lines to published twins under the markers, names over them. */
function drawPoints(series, state, at) {
  const points = pointsOf({ ...at, series: [series] }, { published: false });
  const line = (kind, [x1, y1, x2, y2]) => svg("line", { class: kind, x1, y1, x2, y2 });
  const bars = state.band ? points.flatMap((point) => barsOf(at, point).map((bar) => line("bar", bar))) : [];
  const twins = points.flatMap(({ x, y, name }) => (
    (state.published ? series.published : []).filter((row) => row[4]?.label === name && at.can(row))
      .map((row) => line("twin", [at.x(x), at.y(y), at.x(row[0]), at.y(row[1])]))));
  const large = (a, b) => b.radius - a.radius; // small markers on large ones
  const dots = [...points].sort(large).map((p) => marker(series.marker, p.radius, at.x(p.x), at.y(p.y), "dot sized"));
  const names = at.names.bySeries.get(series.index);
  const isLead = (part) => part.getAttribute("class") === "lead";
  return { under: [...names.filter(isLead), ...bars, ...twins], over: [...dots, ...names.filter((part) => !isLead(part))] };
}

/** A legend of areas: a few values, each with its marker. */
function sizesOf(area) {
  const entries = area.sizes.map(([value, share]) => {
    const r = radiusOf(share);
    const size = Math.ceil(2 * r + 2);
    const picture = svg("svg", { class: "key", viewBox: `0 0 ${size} ${size}`, width: size, height: size, "aria-hidden": "true" });
    picture.append(marker("o", r, size / 2, size / 2, "size"));
    return html("li", {}, [picture, numberText(value)]);
  });
  return html("div", { class: "sizes" }, [`Area: ${area.label}`, html("ul", {}, entries)]);
}
