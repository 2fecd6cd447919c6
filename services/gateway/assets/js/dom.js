// Elements from data. Strings only ever become text nodes or attribute values, so nothing that a model, a server or a file
// name says can become markup; this page uses innerHTML nowhere.

/**
 * Makes an element. `properties` are attributes (`class`, `aria-*`, …) or DOM properties (`hidden`, `value`, …), `on` maps
 * event names to handlers. Children are nodes, strings, or null for nothing.
 */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name === "on") {
      for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    } else if (name in node && !name.includes("-") && name !== "list") {
      node[name] = value;
    } else {
      node.setAttribute(name, value);
    }
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** The element with this id, which the page's markup has. */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`the page has no #${id}`);
  return node;
}

/** A button with an icon and a word. */
export function button(word, iconNode, onClick, properties = {}) {
  return el("button", { type: "button", class: "quiet", on: { click: onClick }, ...properties }, iconNode, el("span", {}, word));
}

/** A button of an icon alone; its words are its label and its tooltip. */
export function iconButton(words, iconNode, onClick) {
  return el("button", { type: "button", class: "quiet quiet-icon", "aria-label": words, title: words, on: { click: onClick } }, iconNode);
}

/** Says something to screen readers without moving the focus. */
export function announce(text) {
  byId("status").textContent = text;
}
