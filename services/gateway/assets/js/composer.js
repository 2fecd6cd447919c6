// The composer: mode, prompt, attached pictures and options, made into a request.

import { announce, byId } from "./dom.js";
import { bytesText } from "./format.js";
import { icon } from "./icons.js";
import { canvasOf, isExtended, marginsText } from "./margins.js";
import { fittingSize } from "./model.js";
import { Options } from "./options.js";
import { Sources, sourceOfFile } from "./sources.js";

const WORDS = {
  draw: { label: "What to draw", verb: "Draw", placeholder: "Describe a picture…" },
  edit: { label: "What to change", verb: "Edit", placeholder: "Say what to change…" },
  ask: { label: "Your question", verb: "Ask", placeholder: "Ask about the picture…" },
};
/** Previews of a picture while it forms. One less than a power of two: then they lie evenly in the usual numbers of iterations. */
const PREVIEWS = 7;

/** The composer. Calls `onSend(request)` and `onStop()`. */
export class Composer {
  #form = byId("composer");
  #prompt = byId("prompt");
  #send = byId("send");
  #error = byId("prompt-error");
  #model = null;
  #mode = "draw";
  #running = false;
  #last = "";
  /** The margins of the attached picture, in words. */
  #margins = "";
  #hooks;
  options = new Options();
  sources = new Sources();

  constructor(hooks) {
    this.#hooks = hooks;
    byId("attach").append(icon("picture"));
    byId("attach").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", (event) => {
      this.attach([...event.target.files]);
      event.target.value = "";
    });
    for (const label of byId("modes").querySelectorAll("label")) label.prepend(icon(label.querySelector("input").value));
    byId("modes").addEventListener("change", (event) => this.setMode(event.target.value));
    this.#prompt.addEventListener("input", () => this.#typed());
    this.#prompt.addEventListener("keydown", (event) => this.#key(event));
    this.sources.addEventListener("change", () => this.#attached());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#running) this.#hooks.onStop();
      else this.send();
    });
    this.#showMode();
  }

  /** Takes the model's limits and defaults; before that nothing can be sent. */
  set model(model) {
    this.#model = model;
    this.options.build(model);
    this.#showMode();
  }

  get mode() {
    return this.#mode;
  }

  /** Changes the mode and says so. */
  setMode(mode) {
    if (mode === this.#mode) return;
    this.#mode = mode;
    this.#say(null);
    this.#showMode();
    this.#hooks.onMode(mode);
    announce(`Mode: ${WORDS[mode].verb}`);
  }

  /** While a request runs, the button stops it. */
  set running(running) {
    this.#running = running;
    this.#showMode();
  }

  /** Puts files into the tray; drawing takes none, so it becomes editing. */
  async attach(files) {
    if (files.length === 0) return;
    if (this.#mode === "draw") this.setMode("edit");
    try {
      for (const file of files) this.sources.add(await sourceOfFile(file, this.#model?.limits.max_image_bytes));
      this.#prompt.focus();
    } catch (error) {
      this.#say(error.message);
    }
  }

  /** Fills everything in. */
  fill({ mode, prompt, options, sources }) {
    this.setMode(mode);
    if (sources) this.sources.set(sources);
    if (options) this.options.fill(options);
    if (prompt !== undefined) this.#prompt.value = prompt;
    this.#typed();
    this.#prompt.focus();
    this.#prompt.setSelectionRange(this.#prompt.value.length, this.#prompt.value.length);
  }

  /** Makes a request of what is filled in and sends it, or says what is missing. */
  send() {
    const request = this.#request();
    if (!request) return;
    this.#last = request.prompt;
    this.#prompt.value = "";
    this.#typed();
    this.#hooks.onSend(request);
  }

  /** Shows an error of the server where it belongs: at an option, or at the prompt, which comes back to be changed. */
  showError(param, message) {
    if (this.#prompt.value === "") {
      this.#prompt.value = this.#last;
      this.#typed();
    }
    if (param && this.options.showError(param, message)) return;
    if (["prompt", "image", "mask", "feather", "extend"].includes(param) || param?.startsWith("messages")) this.#say(message);
  }

  #request() {
    const prompt = this.#prompt.value.trim();
    const mode = this.#mode;
    if (this.#running) return null;
    if (!this.#model) {
      this.#say("The server is not ready yet.");
      return null;
    }
    const { limits } = this.#model;
    const bytes = new TextEncoder().encode(prompt).length;
    const problem =
      (prompt === "" && `${WORDS[mode].label}? Write it here.`) ||
      (limits.max_prompt_bytes && bytes > limits.max_prompt_bytes && `That is ${bytesText(bytes)} of text; the model takes at most ${bytesText(limits.max_prompt_bytes)}.`) ||
      (mode !== "draw" && this.sources.all.length === 0 && `Add a picture to ${mode === "edit" ? "change" : "ask about"} first: choose, drop or paste one.`);
    if (problem) {
      this.#say(problem);
      this.#prompt.focus();
      return null;
    }
    const options = this.options.values();
    if (!options) return null;
    const sources = mode === "draw" ? [] : this.sources.all;
    // With margins the server makes the size that they ask for.
    const extended = mode === "edit" && isExtended(sources[0]);
    if (mode === "edit" && !options.size && !extended) {
      const size = fittingSize(sources[0], this.#model);
      if (size) options.size = size;
    }
    if (mode !== "ask" && this.options.checked("preview")) options.partial_images = Math.min(PREVIEWS, limits.max_partial_images ?? 3);
    const { defaults, name } = this.#model;
    const around = extended ? Object.values(canvasOf(sources[0])) : [defaults.width, defaults.height];
    const shape = options.size ? options.size.split("x").map(Number) : around;
    return { mode, prompt, options, sources, shape, history: [], model: name, remembers: this.options.checked("history") };
  }

  #key(event) {
    // A word being composed in an input method ends with Enter, too.
    if (event.isComposing) return;
    const plain = !event.shiftKey && !event.altKey && !event.ctrlKey && !event.metaKey;
    // On a touch keyboard Enter is the only way to begin a line.
    if (event.key === "Enter" && plain && matchMedia("(pointer: fine)").matches) {
      event.preventDefault();
      this.send();
    } else if (event.key === "ArrowUp" && plain && this.#prompt.value === "" && this.#last) {
      event.preventDefault();
      this.#prompt.value = this.#last;
      this.#typed();
    }
  }

  /** Another picture, or other margins: a size that was chosen before would cut them off. */
  #attached() {
    this.#say(null);
    const margins = this.#mode === "edit" ? marginsText(this.sources.all[0]) : "";
    if (margins !== this.#margins && margins !== "") this.options.clear("edit-size");
    this.#margins = margins;
  }

  #typed() {
    this.#say(null);
    this.#prompt.style.height = "auto";
    this.#prompt.style.height = `${Math.min(this.#prompt.scrollHeight, 200)}px`;
  }

  #say(problem) {
    this.#error.hidden = !problem;
    this.#error.textContent = problem ?? "";
    this.#prompt.setAttribute("aria-invalid", String(Boolean(problem)));
  }

  #showMode() {
    const { label, verb, placeholder } = WORDS[this.#mode];
    byId("modes").querySelector(`[value=${this.#mode}]`).checked = true;
    byId("prompt-label").textContent = label;
    this.#prompt.placeholder = placeholder;
    this.sources.isMaskable = this.#mode === "edit";
    this.sources.most = { draw: 0, edit: 1, ask: this.#model?.limits.max_images ?? 1 }[this.#mode];
    this.options.mode = this.#mode;
    this.#form.dataset.mode = this.#mode;
    this.#send.replaceChildren(icon(this.#running ? "stop" : "send"));
    this.#send.dataset.running = String(this.#running);
    const word = this.#running ? "Stop" : verb;
    this.#send.setAttribute("aria-label", word);
    this.#send.title = this.#running ? "Stop (Esc)" : `${word} (Enter)`;
  }
}
