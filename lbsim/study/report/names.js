"use strict";
/* Where the names of points stand: beside them, over as little as possible; names.py does the same. */

const GAPS = [2, 11, 22, 34]; // between a marker and its name
const LEADER = 11; // the gap from which a line leads from the name to its point
const SIXTEENTHS = [0, 8, 4, 12, 2, 6, 14, 10, 1, 7, 15, 9, 3, 5, 13, 11]; // of a turn, the best side first
const ROUNDS = 4; // in each every name looks for its best place again
const COSTS = { name: 4, mark: 2, outside: 8, farther: 1.5 }; // of covering these; of a place one farther down

/** The area that two boxes [left, top, right, bottom] share. */
function shared(a, b) {
  const [wide, high] = [Math.min(a[2], b[2]) - Math.max(a[0], b[0]), Math.min(a[3], b[3]) - Math.max(a[1], b[1])];
  return wide > 0 && high > 0 ? wide * high : 0;
}

const sharedAll = (box, others) => others.reduce((sum, other) => sum + (other ? shared(box, other) : 0), 0);

/** The places a name may take, the best first; boxes around a point. */
function placesOf({ x, y, wide, high, radius }) {
  return GAPS.flatMap((gap) => SIXTEENTHS.map((k) => {
    const [across, down] = [Math.cos((Math.PI * k) / 8), -Math.sin((Math.PI * k) / 8)];
    const stretch = 2 * Math.max(Math.abs(across), Math.abs(down)); // so that the edge of the name faces the marker
    const px = x + across * (radius + gap + wide / stretch);
    const py = y + down * (radius + gap + high / stretch);
    return { gap, x: px, y: py, box: [px - wide / 2, py - high / 2, px + wide / 2, py + high / 2] };
  }));
}

/** Places for names { x, y, wide, high, radius }, one after the other where each covers least, then again. */
function placeNames(names, marks, frame) {
  const options = names.map(placesOf);
  const taken = names.map(() => null);
  for (let round = 0; round < ROUNDS; round += 1) {
    let moved = false;
    names.forEach(({ wide, high }, i) => {
      const others = taken.map((place, j) => (j === i ? null : place?.box));
      let best = null;
      options[i].forEach((place, k) => {
        const outside = wide * high - shared(place.box, frame);
        const cost = COSTS.name * sharedAll(place.box, others) + COSTS.mark * sharedAll(place.box, marks)
          + COSTS.outside * outside + COSTS.farther * k + (place.gap * high) / 8;
        if (!best || cost < best.cost) best = { cost, place };
      });
      moved ||= taken[i] !== best.place;
      taken[i] = best.place;
    });
    if (!moved) break;
  }
  return taken;
}

/** The places without those that still cover another one: null where a name has no room. */
function withRoom(places) {
  const kept = [];
  return places.map((place) => {
    const [left, top, right, bottom] = place.box;
    if (sharedAll(place.box, kept) > 0.08 * (right - left) * (bottom - top)) return null;
    kept.push(place.box);
    return place;
  });
}
