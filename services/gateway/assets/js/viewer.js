// A made picture or an answer, large: what it was made with, what can be done with it, and the same request as code.

import { isKeyed } from "./api.js";
import { announce, button, byId, el } from "./dom.js";
import { copyText, fileName } from "./format.js";
import { icon } from "./icons.js";
import { isExtended, marginsText } from "./margins.js";
import { MASK_NAME } from "./requests.js";
import { snippets } from "./snippets.js";

const LANGUAGES = [
  ["curl", "curl"],
  ["grpcurl", "grpcurl"],
  ["python", "Python"],
];
const NAMES = {
  size: "Size",
  n: "How many",
  seed: "Seed",
  iterations: "Iterations",
  head_steps: "Head steps",
  guidance_scale: "Guidance",
  guidance_schedule: "Guidance over time",
  temperature: "Temperature",
  negative_prompt: "Keep away from",
  output_format: "File format",
  max_tokens: "Longest answer",
  top_p: "Top p",
};
const MODES = { draw: "Drawn", edit: "Edited", ask: "Asked" };

/** A source by its name, to save it under the name that the code has for it. */
function sourceLink({ blob, name, url }) {
  const link = el("a", { href: url ?? URL.createObjectURL(blob), download: name }, name);
  return el("span", { class: "source-link" }, link, " ");
}

/** The dialog. `actions` are edit, ask, reuse, forget; each closes it. */
export class Viewer {
  #dialog = byId("viewer");
  #actions;
  #language = "curl";

  constructor(actions) {
    this.#actions = actions;
    this.#dialog.addEventListener("click", (event) => {
      // A click on the dialog itself is one on its backdrop: its content fills it.
      if (event.target === this.#dialog) this.#dialog.close();
    });
  }

  /** Shows a picture of the gallery, or a question (a request, which has no URL). */
  open(made, model) {
    const close = el("button", { type: "button", class: "quiet viewer-close", "aria-label": "Close", title: "Close (Esc)", on: { click: () => this.#dialog.close() } }, icon("close"));
    const title = el("h2", {}, made.prompt);
    const side = el("div", { class: "viewer-side" }, el("p", { class: "viewer-kind" }, icon(made.mode), MODES[made.mode]), title, this.#facts(made), this.#buttons(made), this.#code(made, model));
    const picture = made.url ? el("div", { class: "viewer-picture" }, el("img", { src: made.url, alt: `Made from: ${made.prompt}` })) : null;
    this.#dialog.replaceChildren(el("div", { class: made.url ? "viewer-body" : "viewer-body viewer-body-code" }, ...[picture, side, close].filter(Boolean)));
    this.#dialog.setAttribute("aria-label", made.prompt);
    this.#dialog.showModal();
    this.#dialog.scrollTop = 0;
  }

  #facts(made) {
    const { partial_images: _, ...options } = made.options;
    const size = made.width ? `${made.width}×${made.height}` : options.size?.replace("x", "×");
    const facts = { ...options, ...(size ? { size } : {}), ...(made.seed ? { seed: made.seed } : {}) };
    const rows = Object.entries(facts).map(([name, value]) => [NAMES[name] ?? name, String(value)]);
    const from = made.source ? [made.source] : (made.sources ?? []);
    if (made.mode === "edit" && made.source?.mask) rows.unshift(["Redrawn", sourceLink({ blob: made.source.mask.blob, name: MASK_NAME })]);
    if (made.mode === "edit" && isExtended(made.source)) rows.unshift(["Drawn around it", marginsText(made.source)]);
    if (from.length > 0) rows.unshift([made.mode === "ask" ? "About" : "From", from.map(sourceLink)]);
    rows.push(["Model", made.model]);
    if (made.at) rows.push(["Made", new Date(made.at).toLocaleString()]);
    return el("dl", { class: "facts-table" }, rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }

  #buttons(made) {
    const act = (name) => () => {
      this.#dialog.close();
      this.#actions[name](made);
    };
    if (!made.url) return el("div", { class: "actions" }, button("Use again", icon("repeat"), act("reuse")));
    const save = el("a", { class: "quiet", href: made.url, download: fileName(made) }, icon("download"), el("span", {}, "Download"));
    return el(
      "div",
      { class: "actions" },
      button("Edit this", icon("edit"), act("edit")),
      button("Ask about this", icon("ask"), act("ask")),
      button("Use again", icon("repeat"), act("reuse")),
      save,
      button("Remove", icon("trash"), act("forget")),
    );
  }

  /** The code, a language at a time. Tabs as ARIA describes them: arrows move between them. */
  #code(made, model) {
    const code = snippets(made, location.origin, model, isKeyed());
    const shown = el("code", {});
    const panel = el("pre", { class: "code", id: "code-panel", role: "tabpanel", tabIndex: 0 }, shown);
    const tabs = LANGUAGES.map(([language, word]) => el("button", { type: "button", role: "tab", class: "tab", id: `tab-${language}`, "aria-controls": "code-panel", on: { click: () => show(language) } }, word));
    const show = (language) => {
      this.#language = language;
      shown.textContent = code[language];
      panel.setAttribute("aria-labelledby", `tab-${language}`);
      LANGUAGES.forEach(([known], i) => {
        tabs[i].setAttribute("aria-selected", String(known === language));
        tabs[i].tabIndex = known === language ? 0 : -1;
      });
    };
    const list = el("div", { class: "tabs", role: "tablist", "aria-label": "The same request as code" }, tabs);
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (LANGUAGES.findIndex(([known]) => known === this.#language) + step + LANGUAGES.length) % LANGUAGES.length;
      show(LANGUAGES[next][0]);
      tabs[next].focus();
    });
    show(this.#language);
    const copy = button("Copy", icon("copy"), async () => {
      const [iconNode, word] = copy.children;
      try {
        await copyText(code[this.#language]);
        iconNode.replaceWith(icon("check"));
        word.textContent = "Copied";
        announce("Copied");
      } catch {
        word.textContent = "Copying is not allowed; select the text";
      }
      setTimeout(() => copy.replaceChildren(icon("copy"), el("span", {}, "Copy")), 2000);
    });
    return el("section", { class: "code-box", "aria-label": "Code" }, el("div", { class: "code-head" }, list, copy), panel);
  }
}
