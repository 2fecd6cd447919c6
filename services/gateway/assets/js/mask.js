// The dialog in which a part of a picture is marked to be redrawn, and how much is drawn around it.

import { announce, byId, button, el } from "./dom.js";
import { icon } from "./icons.js";
import { canvasOf, isExtended, MarginFields, marginsOf } from "./margins.js";
import { fileOf, isPainted, PAINT, restore } from "./paint.js";

/** Longest side of what is painted on; the mask itself has the picture's size. */
const SIDE = 1024;
/** Widths of the brush, and how far a key moves it, in hundredths of the longer side. */
const WIDTHS = { min: 1, max: 40, standard: 10 };
const STEP = 2;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const HELP = "Paint over what is to be redrawn, or draw around the picture; the rest stays as it is, pixel by pixel. With the keyboard: arrows move the brush, Space paints, X erases, [ and ] change its width.";

/** The dialog to paint a mask and to set margins in. */
export class MaskPainter {
  #dialog = byId("mask");
  #canvas;
  #cursor = el("span", { class: "mask-cursor", "aria-hidden": "true" });
  #width = el("input", { type: "range", id: "mask-width", min: String(WIDTHS.min), max: String(WIDTHS.max), value: String(WIDTHS.standard) });
  #feather = el("input", { type: "range", id: "mask-feather", min: "0", max: "32", value: "0" });
  #erase = button("Erase", icon("erase"), () => this.#setErasing(!this.#erasing), { "aria-pressed": "false" });
  #erasing = false;
  #margins = new MarginFields(() => this.#showMargins());
  /** The picture with what is painted on it, and around both the margins. */
  #stage;
  #around;
  #source;
  #at = [0, 0];
  #last = null;

  constructor() {
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.#width.addEventListener("input", () => this.#showCursor());
  }

  /**
   * Opens on a source; `done` takes what has changed of it: its `mask`, { blob, feather }, and its margins, `extend`, the four
   * sides with a `feather` of their own, or null for none. Closed otherwise, nothing changes.
   */
  async open(source, done) {
    const scale = Math.min(1, SIDE / Math.max(source.width, source.height));
    const size = { width: Math.max(1, Math.round(source.width * scale)), height: Math.max(1, Math.round(source.height * scale)) };
    this.#canvas = el("canvas", { ...size, class: "mask-canvas", tabIndex: 0, role: "application", "aria-label": "Part to redraw", "aria-describedby": "mask-help" });
    if (source.mask) await restore(this.#canvas, source.mask.blob);
    this.#source = source;
    this.#margins.values = marginsOf(source);
    this.#feather.value = String(source.mask?.feather ?? source.extend?.feather ?? 0);
    this.#at = [size.width / 2, size.height / 2];
    this.#setErasing(false);
    this.#listen();
    this.#dialog.replaceChildren(...this.#content(source, done));
    this.#dialog.showModal();
    this.#canvas.focus();
    this.#showCursor();
  }

  #content(source, done) {
    const close = el("button", { type: "button", class: "quiet", "aria-label": "Close", title: "Close (Esc)", on: { click: () => this.#dialog.close() } }, icon("close"));
    this.#stage = el("div", { class: "mask-stage" }, el("img", { src: source.url, alt: source.label }), this.#canvas, this.#cursor);
    this.#around = el("div", { class: "mask-around" }, this.#stage);
    this.#showMargins();
    const finish = async () => {
      done({ mask: await this.#mask(source), extend: this.#extend() });
      this.#dialog.close();
    };
    const use = el("button", { type: "button", class: "mask-use", on: { click: finish } }, "Use this");
    const tools = [
      el("label", { for: "mask-width" }, "Brush ", this.#width),
      el("label", { for: "mask-feather" }, "Soft edge ", this.#feather),
      this.#erase,
      button("Invert", icon("half"), () => this.#invert()),
      button("Clear", icon("trash"), () => this.#clear()),
      this.#margins.node,
    ];
    return [
      el("header", { class: "sheet-head" }, el("h2", {}, "What to redraw"), close),
      el("p", { class: "mask-help", id: "mask-help" }, HELP),
      el("div", { class: "mask-box" }, this.#around),
      el("div", { class: "mask-tools" }, tools, use),
    ];
  }

  async #mask(source) {
    if (!isPainted(this.#canvas)) return null;
    return { blob: await fileOf(this.#canvas, source), feather: Number(this.#feather.value) };
  }

  #extend() {
    const extend = { ...this.#margins.values, feather: Number(this.#feather.value) };
    return isExtended({ extend }) ? extend : null;
  }

  /** Lays the picture out in its margins: as large as the window allows, the canvas exactly over it. */
  #showMargins() {
    const source = { ...this.#source, extend: this.#margins.values };
    const { width, height } = canvasOf(source);
    this.#around.style.aspectRatio = `${width} / ${height}`;
    this.#around.style.width = `min(100%, ${(50 * width) / height}dvh)`;
    const percent = (part, whole) => `${(100 * part) / whole}%`;
    const place = { left: percent(source.extend.left, width), top: percent(source.extend.top, height), width: percent(source.width, width), height: percent(source.height, height) };
    Object.assign(this.#stage.style, place);
  }

  #listen() {
    const point = (event) => {
      const { left, top, width, height } = this.#canvas.getBoundingClientRect();
      return [((event.clientX - left) / width) * this.#canvas.width, ((event.clientY - top) / height) * this.#canvas.height];
    };
    this.#canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.#canvas.setPointerCapture(event.pointerId);
      this.#last = null;
      this.#paint(point(event));
    });
    this.#canvas.addEventListener("pointermove", (event) => {
      if (this.#canvas.hasPointerCapture(event.pointerId)) this.#paint(point(event));
      else this.#moveTo(point(event));
    });
    this.#canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    const arrow = ARROWS[event.key];
    const step = (Math.max(this.#canvas.width, this.#canvas.height) * STEP) / 100;
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (arrow) this.#moveTo([this.#at[0] + arrow[0] * step, this.#at[1] + arrow[1] * step]);
    else if (event.key === " ") this.#stamp(this.#erasing);
    else if (event.key === "x" || event.key === "X") this.#stamp(true);
    else if (event.key === "[" || event.key === "]") this.#resize(event.key === "[" ? -1 : 1);
    else return;
    event.preventDefault();
  }

  /** One dab where the brush stands. */
  #stamp(erasing) {
    const before = this.#erasing;
    this.#erasing = erasing;
    this.#last = null;
    this.#paint(this.#at);
    this.#erasing = before;
    announce(`${erasing ? "Erased" : "Painted"} at ${this.#percent(0)} across, ${this.#percent(1)} down`);
  }

  #percent(axis) {
    const side = axis === 0 ? this.#canvas.width : this.#canvas.height;
    return `${Math.round((this.#at[axis] / side) * 100)} %`;
  }

  #resize(by) {
    this.#width.value = String(Number(this.#width.value) + by);
    this.#showCursor();
  }

  #diameter() {
    return (Math.max(this.#canvas.width, this.#canvas.height) * Number(this.#width.value)) / 100;
  }

  /** A stroke from the last point to this one. */
  #paint(at) {
    const context = this.#canvas.getContext("2d");
    context.globalCompositeOperation = this.#erasing ? "destination-out" : "source-over";
    context.strokeStyle = PAINT;
    context.lineCap = "round";
    context.lineWidth = this.#diameter();
    context.beginPath();
    context.moveTo(...(this.#last ?? at));
    context.lineTo(...at);
    context.stroke();
    context.globalCompositeOperation = "source-over";
    this.#last = at;
    this.#moveTo(at);
  }

  #moveTo([x, y]) {
    const within = (value, most) => Math.min(Math.max(value, 0), most);
    this.#at = [within(x, this.#canvas.width), within(y, this.#canvas.height)];
    this.#showCursor();
  }

  #showCursor() {
    if (!this.#canvas) return;
    const { width, height } = this.#canvas;
    this.#cursor.style.left = `${(this.#at[0] / width) * 100}%`;
    this.#cursor.style.top = `${(this.#at[1] / height) * 100}%`;
    this.#cursor.style.width = `${(this.#diameter() / width) * 100}%`;
  }

  #setErasing(erasing) {
    this.#erasing = erasing;
    this.#erase.setAttribute("aria-pressed", String(erasing));
  }

  #invert() {
    const context = this.#canvas.getContext("2d");
    context.globalCompositeOperation = "source-out";
    context.fillStyle = PAINT;
    context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
    context.globalCompositeOperation = "source-over";
    announce("Mask inverted");
  }

  #clear() {
    this.#canvas.getContext("2d").clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    this.#margins.values = { left: 0, top: 0, right: 0, bottom: 0 };
    this.#showMargins();
    announce("Nothing is marked");
  }
}
