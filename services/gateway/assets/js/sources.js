// The tray of attached pictures: from a file, the clipboard, a drop, or one made before.

import { announce, byId, el, iconButton } from "./dom.js";
import { bytesText } from "./format.js";
import { icon } from "./icons.js";
import { isExtended, marginsText } from "./margins.js";
import { MaskPainter } from "./mask.js";

const TYPES = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff"];

/** Reads a file into a source { blob, name, url, width, height, label }, or throws an Error that says what is wrong with it. */
export async function sourceOfFile(file, maxBytes) {
  if (!TYPES.includes(file.type)) throw new Error(`${file.name || "This"} is not a PNG, JPEG, WebP, GIF, BMP or TIFF picture.`);
  if (maxBytes && file.size > maxBytes) {
    throw new Error(`${file.name || "The picture"} has ${bytesText(file.size)}; the server takes at most ${bytesText(maxBytes)}.`);
  }
  const name = file.name || `pasted.${file.type.split("/")[1]}`;
  const source = { blob: file, name, label: name, url: URL.createObjectURL(file), width: null, height: null };
  try {
    const bitmap = await createImageBitmap(file);
    Object.assign(source, { width: bitmap.width, height: bitmap.height });
    bitmap.close();
  } catch {
    // Most browsers cannot show TIFF, which the server reads all the same.
    if (file.type !== "image/tiff") throw new Error(`${name} cannot be read as a picture.`);
    source.url = null;
  }
  return source;
}

/** A made picture as a source. */
export function sourceOfPicture(picture, name) {
  const { blob, url, width, height, prompt, id } = picture;
  return { blob, url, width, height, name, label: prompt, pictureId: id };
}

/** The tray. Dispatches `change`. */
export class Sources extends EventTarget {
  #tray = byId("tray");
  #sources = [];
  #most = 0;
  #isMaskable = false;
  #painter = new MaskPainter();

  get all() {
    return this.#sources;
  }

  /** How many the mode takes. With none the tray is kept but hidden. */
  set most(most) {
    this.#most = most;
    if (most > 0) this.#sources = this.#sources.slice(-most);
    this.#show();
  }

  /** Whether a part of a picture can be marked, to be redrawn alone. */
  set isMaskable(isMaskable) {
    this.#isMaskable = isMaskable;
    this.#show();
  }

  /** Adds a source; when the tray is full, the oldest goes. */
  add(source) {
    this.#sources = [...this.#sources, source].slice(-Math.max(this.#most, 1));
    announce(`Picture attached: ${source.label}`);
    this.#show();
  }

  /** Replaces all. */
  set(sources) {
    this.#sources = [...sources];
    this.#show();
  }

  #remove(source) {
    this.#sources = this.#sources.filter((other) => other !== source);
    announce("Picture removed");
    this.#show();
    byId("prompt").focus();
  }

  /** Lets the person paint; what they mark replaces the mask that was. */
  #mark(source) {
    return this.#painter.open(source, (change) => {
      // Another object: a request under way keeps the mask that it was sent with.
      const marked = { ...source, ...change };
      this.#sources = this.#sources.map((other) => (other === source ? marked : other));
      announce(this.#words(marked) || "Nothing is marked: everything is redrawn");
      this.#show();
      byId("prompt").focus();
    });
  }

  /** What of a source is redrawn, where that is not all of it. */
  #words(source) {
    const margins = isExtended(source) && `around it: ${marginsText(source)}`;
    return [source.mask && "a part", margins].filter(Boolean).join(" · ");
  }

  #show() {
    this.#tray.hidden = this.#most === 0 || this.#sources.length === 0;
    this.#tray.replaceChildren(...this.#sources.map((source) => this.#item(source)));
    this.dispatchEvent(new Event("change"));
  }

  #item(source) {
    const size = source.width ? `${source.width}×${source.height}` : bytesText(source.blob.size);
    const remove = el(
      "button",
      { type: "button", class: "quiet tray-remove", "aria-label": `Remove ${source.label}`, title: "Remove", on: { click: () => this.#remove(source) } },
      icon("close"),
    );
    const thumb = source.url ? el("img", { class: "tray-thumb", src: source.url, alt: "" }) : el("span", { class: "tray-thumb" }, icon("picture"));
    const marked = [size, this.#isMaskable && this.#words(source)].filter(Boolean).join(" · ");
    const words = el("span", { class: "tray-words" }, el("span", { class: "tray-label" }, source.label), el("span", { class: "tray-size" }, marked));
    // What the browser cannot show cannot be painted on.
    const canMark = this.#isMaskable && source.url && source.width;
    const mark = canMark ? iconButton(this.#words(source) ? "Change what to redraw" : "Mark what to redraw", icon("brush"), () => this.#mark(source)) : null;
    return el("li", { class: "tray-item" }, thumb, words, mark, remove);
  }
}
