"use strict";
/* Axes: numbers as text, scales, and ticks where a reader expects them. */

/** A number with at most `digits` significant digits: 1364.2 becomes "1,364"; null becomes a dash. */
function numberText(value, digits = 4) {
  if (value === null) return "–";
  const size = Math.abs(value);
  const notation = size !== 0 && (size < 1e-4 || size >= 1e9) ? "scientific" : "standard";
  const text = value.toLocaleString("en-US", { maximumSignificantDigits: digits, notation });
  return text.replace("-", "−");
}

/** "p95 latency (µs)" becomes { name: "p95 latency", unit: "µs" }. */
function unitOf(label) {
  const parts = /^(.*\S)\s+\(([^()]{1,22})\)$/.exec(label);
  return parts ? { name: parts[1], unit: parts[2] } : { name: label, unit: "" };
}

/** How values lie along an axis: "linear", "log", or "symlog": linear up to the knee, logarithmic above. */
function bendOf(kind, knee) {
  if (kind === "log") return Math.log10;
  if (kind === "symlog") return (value) => (value <= knee ? value / knee : 1 + Math.log(value / knee));
  return (value) => value;
}

/** A function from `domain` to `range` along an axis of that kind. */
function scaleOf(kind, domain, range, knee) {
  const f = bendOf(kind, knee);
  const [low, high] = domain.map(f);
  return (value) => range[0] + ((f(value) - low) / (high - low)) * (range[1] - range[0]);
}

/** Whether an axis of that kind has a place for a value. */
const fits = (kind, value) => value !== null && (kind !== "log" || value > 0);

/** The step of 1, 2 or 5 times a power of ten that cuts `span` into at most `most` parts. */
function stepOf(span, most) {
  const rough = span / Math.max(1, most);
  const ten = 10 ** Math.floor(Math.log10(rough));
  return ten * [1, 2, 5, 10].find((m) => m * ten >= rough * 0.9999);
}

/** Multiples of a 1-2-5 step within the domain. */
function linearTicks([low, high], most) {
  const step = stepOf(high - low, most);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= high / step + 1e-9; i += 1) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

/** All values m times a power of ten within the domain, for m in `multiples`. */
function powers([low, high], multiples) {
  const found = [];
  for (let k = Math.floor(Math.log10(low)) - 1; k <= Math.log10(high) + 1; k += 1) {
    for (const m of multiples) {
      const value = Number((m * 10 ** k).toPrecision(12));
      if (value >= low * 0.9999 && value <= high * 1.0001) found.push(value);
    }
  }
  return found;
}

/** Ticks of a logarithmic axis: 1-2-5 where there is room, else decades; over less than a decade linear ones. */
function logTicks(domain, most) {
  const dense = powers(domain, [1, 2, 5]);
  if (dense.length >= 3 && dense.length <= most) return dense;
  const decades = powers(domain, [1]);
  if (decades.length < 3) return linearTicks(domain, Math.min(most, 5));
  const skip = Math.ceil(decades.length / most);
  return decades.filter((_, i) => i % skip === 0);
}

const MOST_DOUBLINGS = 5; // of the knee of a symlog axis; 1-2-5 is easier to read beyond

/** Ticks of a symlog axis: 0, the knee, its half where there is room; above doublings, else 1-2-5, else decades. */
function symlogTicks([low, high], most, knee) {
  if (high <= knee) return linearTicks([low, high], most);
  const below = bendOf("symlog", knee)(high) > 7 ? [0, knee] : [0, knee / 2, knee];
  const room = Math.max(2, most - below.length);
  const doublings = doubled(knee, high * 1.0001).slice(1);
  if (doublings.length <= Math.min(room, MOST_DOUBLINGS)) return [...below, ...doublings];
  const dense = powers([1.3 * knee, high], [1, 2, 5]);
  if (dense.length <= room) return [...below, ...dense];
  const decades = powers([1.3 * knee, high], [1]);
  const skip = Math.ceil(decades.length / room);
  return [...below, ...decades.filter((_, i) => i % skip === 0)];
}

/** first, twice that, and so on up to `last`. */
function doubled(first, last) {
  const found = [];
  for (let value = first; value <= last; value *= 2) found.push(value);
  return found;
}

/** A domain around the values that ends on good ticks: on 1-2-5 if logarithmic, else from 0. */
function domainOf(values, kind, most, knee) {
  if (!values.length) return kind === "log" ? [1, 10] : [0, 1];
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (kind === "symlog" && high > knee) {
    const ends = [...doubled(knee, 2 ** MOST_DOUBLINGS * knee), ...powers([knee * 2 ** MOST_DOUBLINGS, high * 10], [1, 2, 5])];
    return [Math.min(0, low), ends.find((v) => v >= high * 0.9999)];
  }
  if (kind === "log") {
    const nice = powers([low / 10, high * 10], [1, 2, 5]);
    const ends = [nice.filter((v) => v <= low * 1.0001).pop(), nice.find((v) => v >= high * 0.9999)];
    return ends[0] < ends[1] ? ends : [low / 2, high * 2];
  }
  const [from, to] = [Math.min(0, low), Math.max(0, high)];
  const step = stepOf(to - from || 1, most);
  return [Math.floor(from / step + 1e-9) * step, Math.ceil(to / step - 1e-9) * step || 1];
}

/** Whether the labels of ticks stand apart; a digit is about 7 units wide. */
function fit(ticks, scale) {
  const texts = ticks.map((v) => numberText(v, 6));
  const apart = (i) => scale(ticks[i]) - scale(ticks[i - 1]) > 12 + 3.5 * (texts[i].length + texts[i - 1].length);
  return texts.every((text, i) => text.length <= 7 && (i === 0 || apart(i)));
}

/** Ticks of the x axis: those asked for, else the values themselves, else 1-2-5 steps; as many as fit. */
function xTicks(wanted, values, domain, scale, kind = "linear") {
  const inside = (wanted ?? []).filter((v) => v >= domain[0] && v <= domain[1]);
  const ticksOf = kind === "log" ? logTicks : linearTicks;
  const steps = [16, 12, 9, 7, 5, 4, 3].map((most) => ticksOf(domain, most));
  return [inside, values, ...steps].find((ticks) => ticks.length && fit(ticks, scale)) ?? domain;
}
