// Small scenes of coloured shapes: sketches for the examples, and sample pictures for those who have none to edit or ask about.

const COLOURS = {
  red: "#d9412f",
  orange: "#ee8b2d",
  yellow: "#efc02f",
  green: "#3c9a5f",
  blue: "#2f55c8",
  purple: "#7c4bb8",
  pink: "#ec8fb4",
  brown: "#8a5a36",
  black: "#1d1d1f",
  white: "#ffffff",
  grey: "#9a9a9a",
};

/** The outline of a shape of side 1 around the origin, as points; a circle has none. */
const OUTLINES = {
  square: [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]],
  triangle: [[0, -0.5], [0.5, 0.5], [-0.5, 0.5]],
  diamond: [[0, -0.5], [0.5, 0], [0, 0.5], [-0.5, 0]],
  cross: [[-1, -3], [1, -3], [1, -1], [3, -1], [3, 1], [1, 1], [1, 3], [-1, 3], [-1, 1], [-3, 1], [-3, -1], [-1, -1]].map(([x, y]) => [x / 6, y / 6]),
  star: Array.from({ length: 10 }, (_, i) => {
    const radius = i % 2 === 0 ? 0.53 : 0.21;
    const angle = (i * Math.PI) / 5 - Math.PI / 2;
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  }),
};

/** The path of an object { shape, x, y, side } in a scene of side 1, scaled to `size`. */
function pathOf({ shape, x, y, side }, size) {
  const s = (value) => (value * size).toFixed(2);
  if (shape === "circle") {
    const r = s(side / 2);
    return `M${s(x - side / 2)} ${s(y)}a${r} ${r} 0 1 0 ${s(side)} 0a${r} ${r} 0 1 0 ${s(-side)} 0z`;
  }
  const points = OUTLINES[shape].map(([px, py]) => `${s(x + px * side)} ${s(y + py * side)}`);
  return `M${points.join("L")}z`;
}

const SVG = "http://www.w3.org/2000/svg";

/** A sketch of a scene { background, objects } as an SVG element. */
export function sketch({ background = "white", objects }) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 64 64");
  svg.setAttribute("class", "sketch");
  svg.setAttribute("aria-hidden", "true");
  const add = (d, colour) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    path.setAttribute("fill", COLOURS[colour]);
    svg.append(path);
  };
  add("M0 0h64v64H0z", background);
  for (const object of objects) add(pathOf(object, 64), object.colour);
  return svg;
}

/** A scene as a PNG of this side in pixels. */
export function sample({ background = "white", objects }, side) {
  const canvas = document.createElement("canvas");
  canvas.width = side;
  canvas.height = side;
  const context = canvas.getContext("2d");
  context.fillStyle = COLOURS[background];
  context.fillRect(0, 0, side, side);
  for (const object of objects) {
    context.fillStyle = COLOURS[object.colour];
    context.fill(new Path2D(pathOf(object, side)));
  }
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the browser cannot make a picture"))), "image/png");
  });
}
