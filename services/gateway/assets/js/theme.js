// The switch of the colour scheme: the system's preference, light, dark. `theme-first.js` applies the choice at load.

import { icon } from "./icons.js";

const KEY = "unipic-theme";
const ORDER = ["system", "light", "dark"];
const ICONS = { system: "half", light: "sun", dark: "moon" };

/** Makes a button go through the schemes. */
export function themeSwitch(button) {
  let theme = document.documentElement.dataset.theme ?? "system";
  const show = () => {
    const label = theme === "system" ? "Colours: as the system" : `Colours: ${theme}`;
    button.replaceChildren(icon(ICONS[theme]));
    button.setAttribute("aria-label", label);
    button.title = label;
  };
  button.addEventListener("click", () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // Storage may be forbidden; then the choice holds until the page is left.
    }
    show();
  });
  show();
}
