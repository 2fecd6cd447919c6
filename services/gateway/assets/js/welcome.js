// The empty state: what the three modes do, each with prompts to try.

import { el } from "./dom.js";
import { examplesOf } from "./examples.js";
import { icon } from "./icons.js";
import { sketch } from "./scenes.js";

const MODES = [
  { mode: "draw", title: "Draw", says: "A picture from words." },
  { mode: "edit", title: "Edit", says: "A change to a picture." },
  { mode: "ask", title: "Ask", says: "An answer about a picture." },
];

/** Fills the welcome for a model; `onTry(mode, example)` runs an example. */
export function showWelcome(section, model, onTry) {
  const examples = examplesOf(model);
  const says = model.knowsOnlyShapes
    ? "One model for all three. This one, nano, knows a small world: circles, squares, triangles, stars, diamonds and crosses in eleven colours."
    : "One model for all three.";
  const columns = MODES.map(({ mode, title, says }) => {
    const buttons = examples[mode].map((example) => {
      const picture = example.scene ? sketch(example.scene) : icon(mode);
      const press = el("button", { type: "button", class: "example", on: { click: () => onTry(mode, example) } }, picture, el("span", {}, example.prompt));
      return el("li", {}, press);
    });
    return el("section", { class: "welcome-mode", "aria-labelledby": `welcome-${mode}` }, el("h3", { id: `welcome-${mode}` }, icon(mode), title), el("p", {}, says), el("ul", {}, buttons));
  });
  section.replaceChildren(
    el("h2", { id: "welcome-title" }, "Draw, edit, ask"),
    el("p", { class: "welcome-says" }, says),
    el("div", { class: "welcome-modes" }, columns),
  );
}
