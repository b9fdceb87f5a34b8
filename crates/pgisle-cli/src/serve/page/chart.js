// Charts as SVG. A point is [seconds since 1970, mean, highest]; where there is none, nothing was seen, and the line has a gap.

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [600, 100];

function part(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** Cuts points where more than a few steps are missing. */
export function pieces(points) {
  const gaps = points.slice(1).map((point, index) => point[0] - points[index][0]).sort((one, other) => one - other);
  const step = gaps.length ? gaps[Math.floor(gaps.length / 2)] : 1;
  const all = [];
  points.forEach((point, index) => {
    if (index === 0 || point[0] - points[index - 1][0] > 3.5 * step) all.push([]);
    all[all.length - 1].push(point);
  });
  return all;
}

/** A chart of one series up to now. `limit` is what it must not reach. */
export function chart(points, { label, from, to, limit, show, small }) {
  const highest = Math.max(1, ...points.map((point) => point[2]), limit && !small ? limit : 0) * 1.05;
  const x = (at) => (((at - from) / Math.max(1, to - from)) * WIDTH).toFixed(1);
  const y = (value) => (HEIGHT - (value / highest) * HEIGHT).toFixed(1);
  const svg = part("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", class: small ? "spark" : "chart" });
  const last = points[points.length - 1];
  const told = last ? `now ${show(last[1])}, at most ${show(Math.max(...points.map((point) => point[2])))}` : "nothing was seen";
  svg.setAttribute("aria-label", `${label}: ${told}`);
  for (const piece of pieces(points)) {
    const line = piece.map((point) => `${x(point[0])},${y(point[1])}`);
    const high = piece.map((point) => `${x(point[0])},${y(point[2])}`);
    const [first, end] = [x(piece[0][0]), x(piece[piece.length - 1][0])];
    svg.append(part("polygon", { class: "high", points: [`${first},${HEIGHT}`, ...high, `${end},${HEIGHT}`].join(" ") }));
    // A single point would be no line.
    svg.append(part("polyline", { class: "line", points: line.length > 1 ? line.join(" ") : `${line[0]} ${(Number(end) + 2).toFixed(1)},${y(piece[0][1])}` }));
  }
  if (limit && !small) svg.append(part("line", { class: "limit", x1: 0, x2: WIDTH, y1: y(limit), y2: y(limit) }));
  return svg;
}
