// Margins: how much is drawn around a picture, side by side, and what that makes of its size.

import { el } from "./dom.js";

/** The sides, in the order in which they are typed. */
export const SIDES = ["left", "top", "right", "bottom"];
/** Most pixels on one side; what the picture may have in all, the server knows. */
const MOST = 4096;

/** Margins without a side are none. */
const ofNothing = { left: 0, top: 0, right: 0, bottom: 0 };

/** The margins of a source, all sides. */
export function marginsOf(source) {
  return { ...ofNothing, ...source?.extend };
}

/** Whether anything is drawn around a source. */
export function isExtended(source) {
  return SIDES.some((side) => marginsOf(source)[side] > 0);
}

/** The size of a source with its margins. */
export function canvasOf(source) {
  const { left, top, right, bottom } = marginsOf(source);
  return { width: left + source.width + right, height: top + source.height + bottom };
}

/** How far the seam of an edit is blended, in pixels: only a part or margins have one. */
export function featherOf(source) {
  return source?.mask?.feather ?? (isExtended(source) ? (source.extend.feather ?? 0) : 0);
}

/** Margins in words: "64 px left, 32 px top". */
export function marginsText(source) {
  const margins = marginsOf(source);
  return SIDES.filter((side) => margins[side] > 0)
    .map((side) => `${margins[side]} px ${side}`)
    .join(", ");
}

/** The fields of the four sides; `onChange` is told when one is typed in. */
export class MarginFields {
  #inputs;
  node;

  constructor(onChange) {
    const input = (side) => el("input", { type: "number", id: `margin-${side}`, min: "0", max: String(MOST), step: "16", inputMode: "numeric", on: { input: onChange } });
    this.#inputs = Object.fromEntries(SIDES.map((side) => [side, input(side)]));
    const word = (side) => side[0].toUpperCase() + side.slice(1);
    const labels = SIDES.map((side) => el("label", { for: `margin-${side}` }, `${word(side)} `, this.#inputs[side]));
    this.node = el("fieldset", { class: "mask-margins" }, el("legend", {}, "Draw around it, in pixels"), labels);
  }

  /** What is typed; what is no number is nothing. */
  get values() {
    const value = ({ value }) => Math.min(MOST, Math.max(0, Math.round(Number(value) || 0)));
    return Object.fromEntries(SIDES.map((side) => [side, value(this.#inputs[side])]));
  }

  set values(values) {
    for (const side of SIDES) this.#inputs[side].value = String(values[side]);
  }
}
