// One turn of the conversation: what was asked, and below it what comes back, from the first progress to the end.

import { announce, button, el, iconButton } from "./dom.js";
import { errorTitle } from "./errors.js";
import { durationText, fileName } from "./format.js";
import { icon } from "./icons.js";

const VERBS = { draw: "Drawing", edit: "Editing", ask: "Reading the picture" };
const TITLES = { draw: "Draw", edit: "Edit", ask: "Ask" };

/** A turn's view. `actions` are what its buttons do: edit, ask, reuse, details, again, stop. */
export class Turn {
  #request;
  #actions;
  #frames = [];
  #pictures = el("div", { class: "pictures" });
  #answer = el("p", { class: "answer" });
  #bar = el("progress", { class: "progress-bar", "aria-label": "Progress" });
  #told = el("span", { class: "progress-text" });
  #progress;
  #notice = el("div", { class: "notice", hidden: true });
  #foot = el("div", { class: "turn-foot" });
  #began = performance.now();

  constructor(request, actions) {
    this.#request = request;
    this.#actions = actions;
    this.#progress = el("div", { class: "progress" }, this.#bar, this.#told, button("Stop", icon("stop"), actions.stop));
    const { mode, prompt, sources } = request;
    const thumbs = sources.map((source) => source.url && el("img", { class: "said-thumb", src: source.url, alt: source.label }));
    const said = el("div", { class: "said" }, thumbs, el("p", { class: "said-text" }, el("span", { class: "said-mode" }, icon(mode), TITLES[mode]), prompt));
    const reply = el("div", { class: "reply" }, this.#pictures, this.#answer, this.#progress, this.#notice, this.#foot);
    this.node = el("li", { class: `turn turn-${mode}` }, said, reply);
  }

  /** Makes ready for an attempt, the first or another. */
  begin() {
    const { mode, options } = this.#request;
    this.#began = performance.now();
    this.#state("running");
    this.#notice.hidden = true;
    this.#foot.replaceChildren();
    this.#answer.textContent = "";
    this.#frames = mode === "ask" ? [] : Array.from({ length: options.n ?? 1 }, () => this.#frame());
    this.#pictures.replaceChildren(...this.#frames.map(({ figure }) => figure));
    this.#pictures.hidden = mode === "ask";
    this.#pictures.dataset.many = String(this.#frames.length > 1);
    this.progress(null, `${VERBS[mode]}…`);
    announce(`${VERBS[mode]}: ${this.#request.prompt}`);
  }

  /** Milliseconds since the attempt began. */
  get elapsedMs() {
    return performance.now() - this.#began;
  }

  /** Tells how far it is: a fraction, or null where that is not known. */
  progress(fraction, text) {
    if (fraction === null) this.#bar.removeAttribute("value");
    else this.#bar.value = fraction;
    this.#told.textContent = text;
  }

  /** Shows a picture as far as it is known. */
  preview(index, blob) {
    const frame = this.#frames[index];
    if (!frame || frame.done) return;
    const old = frame.image.src;
    frame.image.src = URL.createObjectURL(blob);
    frame.image.alt = `Preview of ${this.#request.prompt}`;
    frame.figure.dataset.state = "preview";
    if (old) URL.revokeObjectURL(old);
  }

  /** Shows a finished picture with what can be done with it. */
  picture(index, picture) {
    const frame = this.#frames[index] ?? this.#added();
    frame.done = true;
    const { image, figure, caption, holder } = frame;
    if (image.src) URL.revokeObjectURL(image.src);
    image.src = picture.url;
    image.alt = `Made from: ${picture.prompt}`;
    figure.dataset.state = "done";
    const open = el("button", { type: "button", class: "frame-open", "aria-label": `Open: ${picture.prompt}`, on: { click: () => this.#actions.details(picture) } }, image);
    holder.replaceChildren(open);
    const size = picture.width ? `${picture.width}×${picture.height}` : null;
    const facts = [picture.seed !== null && `seed ${picture.seed}`, size, durationText(this.elapsedMs)].filter(Boolean);
    caption.replaceChildren(el("p", { class: "facts" }, facts.join(" · ")), this.#pictureActions(picture));
  }

  /** Adds to the answer. */
  text(delta) {
    this.#answer.textContent += delta;
  }

  get answerText() {
    return this.#answer.textContent;
  }

  /** Everything came. `facts` are said below an answer. */
  done(facts = []) {
    this.#state("done");
    if (this.#request.mode !== "ask") {
      announce(this.#frames.length > 1 ? `${this.#frames.length} pictures are finished` : "The picture is finished");
      return;
    }
    announce(`Answer: ${this.answerText}`);
    if (!this.answerText) this.#answer.append(el("em", { class: "silence" }, "The model ended its answer without a word."));
    const { reuse, details } = this.#actions;
    const actions = el("div", { class: "actions" }, button("Use again", icon("repeat"), () => reuse(this.#request)), button("Code", icon("code"), () => details(this.#request)));
    this.#foot.replaceChildren(el("p", { class: "facts" }, [...facts, durationText(this.elapsedMs)].join(" · ")), actions);
  }

  /** The person stopped it. */
  stopped() {
    this.#end("stopped");
    this.#tell("Stopped.", null, [this.#againButton("Start again")]);
    announce("Stopped");
  }

  /** It failed, and trying again by itself is no use. */
  failed(error) {
    this.#end("failed");
    this.#tell(errorTitle(error), error.message, [this.#againButton("Try again"), button("Change it", icon("edit"), () => this.#actions.reuse(this.#request))]);
    this.#notice.setAttribute("role", "alert");
  }

  /** The server is busy: counts down and resolves when it is time to try again, or rejects when `signal` aborts. */
  async wait(error, ms, signal) {
    this.#end("waiting");
    const left = el("span", { class: "countdown" });
    const until = performance.now() + ms;
    let now;
    const pressed = new Promise((resolve) => {
      now = button("Try now", icon("repeat"), resolve);
    });
    this.#tell(errorTitle(error), error.message, [now, button("Stop", icon("stop"), this.#actions.stop)], left);
    announce(`${errorTitle(error)}. Trying again in ${Math.ceil(ms / 1000)} seconds.`);
    const aborted = new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
    for (;;) {
      const ahead = until - performance.now();
      if (ahead <= 0) return;
      left.textContent = `Trying again in ${Math.ceil(ahead / 1000)} s.`;
      let timer;
      const tick = new Promise((resolve) => (timer = setTimeout(resolve, Math.min(250, ahead))));
      try {
        if ((await Promise.race([tick.then(() => "tick"), pressed.then(() => "pressed"), aborted])) === "pressed") return;
      } finally {
        clearTimeout(timer);
      }
    }
  }

  #frame() {
    const image = el("img", { class: "frame-image", alt: "" });
    const holder = el("div", { class: "frame" }, image);
    const caption = el("figcaption", { class: "caption" });
    const [width, height] = this.#request.shape ?? [1, 1];
    holder.style.aspectRatio = `${width} / ${height}`;
    return { image, holder, caption, done: false, figure: el("figure", { class: "picture" }, holder, caption) };
  }

  #added() {
    const frame = this.#frame();
    this.#frames.push(frame);
    this.#pictures.append(frame.figure);
    return frame;
  }

  #pictureActions(picture) {
    const { edit, ask, reuse, details } = this.#actions;
    const save = el("a", { class: "quiet quiet-icon", href: picture.url, download: fileName(picture), "aria-label": "Download", title: "Download" }, icon("download"));
    return el(
      "div",
      { class: "actions" },
      button("Edit", icon("edit"), () => edit(picture), { "aria-label": "Edit this", title: "Edit this" }),
      button("Ask", icon("ask"), () => ask(picture), { "aria-label": "Ask about this", title: "Ask about this" }),
      iconButton("Use again", icon("repeat"), () => reuse(picture)),
      save,
      iconButton("Details and code", icon("code"), () => details(picture)),
    );
  }

  #state(state) {
    this.node.dataset.state = state;
    this.#progress.hidden = state !== "running";
    this.#answer.setAttribute("aria-busy", String(state === "running"));
  }

  /** Ends an attempt without a whole result; pictures that came stay. */
  #end(state) {
    this.#state(state);
    for (const { figure, done, image } of this.#frames) {
      if (done) continue;
      if (image.src) URL.revokeObjectURL(image.src);
      figure.remove();
    }
    this.#pictures.hidden = !this.#frames.some(({ done }) => done);
  }

  #tell(title, message, buttons, left = null) {
    this.#notice.removeAttribute("role");
    const icons = this.node.dataset.state === "stopped" ? null : icon("alert");
    const words = el("div", { class: "notice-words" }, el("p", { class: "notice-title" }, title), message && el("p", {}, message), left && el("p", {}, left));
    this.#notice.replaceChildren(...[icons, words, el("div", { class: "actions" }, ...buttons)].filter(Boolean));
    this.#notice.hidden = false;
  }

  #againButton(word) {
    return button(word, icon("repeat"), () => this.#actions.again(this));
  }

  get request() {
    return this.#request;
  }
}
