// Shortcuts of the whole page, and the sheet that tells them.

import { byId, el } from "./dom.js";
import { icon } from "./icons.js";

const MAC = /mac|iphone|ipad/i.test(navigator.userAgentData?.platform ?? navigator.platform);
const ALT = MAC ? "⌥" : "Alt";
const SHORTCUTS = [
  [["Enter"], "Send; on a touch keyboard, a new line"],
  [["Shift", "Enter"], "A new line"],
  [[MAC ? "⌘" : "Ctrl", "Enter"], "Send, from anywhere on the page"],
  [["Esc"], "Stop what runs"],
  [[ALT, "1"], "Draw"],
  [[ALT, "2"], "Edit"],
  [[ALT, "3"], "Ask"],
  [[ALT, "O"], "Options"],
  [[ALT, "G"], "Gallery"],
  [["↑"], "The last prompt again, in an empty field"],
];

/** Listens for the shortcuts; `actions` are send, stop, mode, options, gallery. */
export function listen(actions) {
  const letters = {
    Digit1: () => actions.mode("draw"),
    Digit2: () => actions.mode("edit"),
    Digit3: () => actions.mode("ask"),
    KeyO: () => actions.options(),
    KeyG: () => actions.gallery(),
  };
  document.addEventListener("keydown", (event) => {
    // An open dialog has its own keys, of which Esc closes it.
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    const { key, code, altKey, ctrlKey, metaKey, shiftKey } = event;
    if (key === "Enter" && (ctrlKey || metaKey)) {
      event.preventDefault();
      actions.send();
    } else if (key === "Escape") {
      actions.stop();
    } else if (altKey && !ctrlKey && !metaKey && !shiftKey && letters[code]) {
      // By the key's place, because with Alt many layouts type another character.
      event.preventDefault();
      letters[code]();
    }
  });
  const dialog = byId("keyboard");
  byId("show-keyboard").append(icon("keyboard"));
  byId("show-keyboard").addEventListener("click", () => dialog.showModal());
  const rows = SHORTCUTS.map(([keys, says]) => el("div", {}, el("dt", {}, keys.map((key) => el("kbd", {}, key))), el("dd", {}, says)));
  const close = el("button", { type: "button", class: "quiet", "aria-label": "Close", on: { click: () => dialog.close() } }, icon("close"));
  dialog.append(el("header", { class: "sheet-head" }, el("h2", { id: "keyboard-title" }, "Keyboard"), close), el("dl", { class: "shortcuts" }, rows));
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}
