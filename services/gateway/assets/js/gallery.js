// The gallery: what was made, newest first. Beside the conversation where there is room, over it where there is not.

import { byId, el } from "./dom.js";
import { icon } from "./icons.js";

/** Below this width the gallery lies over the conversation. */
const NARROW = matchMedia("(max-width: 68.74rem)");

/** The gallery's view; `onOpen(picture)` shows one. */
export class Gallery {
  #pictures;
  #onOpen;
  #panel = byId("gallery");
  #toggle = byId("show-gallery");
  #items = new Map();
  #open = false;
  /** What the person chose, where there is room for both; before that it opens with the first picture. */
  #wanted = null;

  constructor(pictures, onOpen) {
    this.#pictures = pictures;
    this.#onOpen = onOpen;
    this.#toggle.prepend(icon("gallery"));
    byId("close-gallery").append(icon("close"));
    this.#toggle.addEventListener("click", () => this.toggle());
    byId("close-gallery").addEventListener("click", () => this.#set(false));
    byId("scrim").addEventListener("click", () => this.#set(false));
    byId("clear-gallery").addEventListener("click", () => this.#clear());
    NARROW.addEventListener("change", () => this.#settle());
    pictures.addEventListener("change", () => this.#show());
    this.#show();
    this.#settle();
  }

  /** Opens or closes it. */
  toggle() {
    this.#set(!this.#open);
    if (!NARROW.matches) this.#wanted = this.#open;
    if (this.#open && NARROW.matches) byId("close-gallery").focus();
  }

  /** Opens or closes it as fits, where the person has not said. */
  #settle() {
    this.#set(!NARROW.matches && (this.#wanted ?? this.#pictures.all.length > 0));
  }

  /** Closes it where it lies over the conversation; false where it does not. */
  closeOverlay() {
    const overlay = this.#open && NARROW.matches;
    if (overlay) this.#set(false);
    return overlay;
  }

  #set(open) {
    const had = this.#panel.contains(document.activeElement);
    this.#open = open;
    const overlay = open && NARROW.matches;
    byId("shell").dataset.gallery = open ? "open" : "closed";
    this.#panel.inert = !open;
    byId("main").inert = overlay;
    byId("scrim").hidden = !overlay;
    this.#toggle.setAttribute("aria-expanded", String(open));
    if (had && !open) this.#toggle.focus();
  }

  #clear() {
    if (confirm("Forget all pictures in this browser's gallery? Downloaded ones stay.")) this.#pictures.clear();
  }

  #show() {
    const { all } = this.#pictures;
    byId("gallery-count").textContent = String(all.length);
    byId("gallery-empty").hidden = all.length > 0;
    byId("clear-gallery").hidden = all.length === 0;
    const items = new Map(all.map((picture) => [picture.id, this.#items.get(picture.id) ?? this.#item(picture)]));
    this.#items = items;
    byId("gallery-grid").replaceChildren(...items.values());
    if (this.#wanted === null && !NARROW.matches) this.#settle();
  }

  #item(picture) {
    const label = picture.seed === null ? picture.prompt : `${picture.prompt}, seed ${picture.seed}`;
    const image = el("img", { src: picture.url, alt: "", loading: "lazy" });
    return el("li", {}, el("button", { type: "button", class: "thumb", "aria-label": label, title: picture.prompt, on: { click: () => this.#onOpen(picture) } }, image));
  }
}
