// The panel of options: one form for all modes, of which each shows its own fields.

import { byId, el } from "./dom.js";
import { fieldsOf, problemOf } from "./fields.js";
import { icon } from "./icons.js";

/** The panel. */
export class Options {
  #panel = byId("options");
  #toggle = byId("show-options");
  #summary = byId("options-summary");
  #fields = [];
  #mode = "draw";

  constructor() {
    this.#toggle.prepend(icon("options"));
    this.#toggle.addEventListener("click", () => this.open(this.#panel.hidden));
  }

  /** Builds the fields for a model. */
  build(model) {
    this.#fields = fieldsOf(model).map((field) => ({ ...field, ...control(field) }));
    for (const field of this.#fields) {
      field.input.addEventListener("input", () => {
        this.#mark(field, problemOf(field, text(field)));
        this.#showSummary();
      });
    }
    const reset = el("button", { type: "button", class: "quiet", on: { click: () => this.fill({}) } }, icon("repeat"), el("span", {}, "Reset"));
    this.#panel.replaceChildren(...this.#fields.map(({ row }) => row), el("p", { class: "options-foot" }, reset));
    this.mode = this.#mode;
  }

  /** Shows the fields of a mode. */
  set mode(mode) {
    this.#mode = mode;
    for (const { row, modes } of this.#fields) row.hidden = !modes.includes(mode);
    this.#showSummary();
  }

  open(open) {
    this.#panel.hidden = !open;
    this.#toggle.setAttribute("aria-expanded", String(open));
  }

  /** Opens or closes the panel. */
  toggle() {
    this.open(this.#panel.hidden);
    if (!this.#panel.hidden) this.#shown().find(({ row }) => !row.hidden)?.input.focus();
  }

  /** The options that are set, by their names in the API; null where one is wrong, which is then shown and focused. */
  values() {
    const values = {};
    for (const field of this.#shown()) {
      const value = text(field);
      const problem = problemOf(field, value);
      if (problem) {
        this.#show(field, problem);
        return null;
      }
      if (field.api && value !== "") values[field.api] = field.number ? Number(value) : value;
    }
    return values;
  }

  /** Whether a switch is on. */
  checked(id) {
    return this.#fields.find((field) => field.id === id)?.input.checked ?? false;
  }

  /** Sets the fields of the current mode from a request's options; the rest become empty. */
  fill(options) {
    for (const field of this.#shown()) {
      if (field.check) continue;
      const value = String(options[field.api] ?? "");
      if (field.choices && !field.choices.some(([known]) => known === value)) field.input.append(el("option", { value }, value.replace("x", "×")));
      field.input.value = value;
      this.#mark(field, null);
    }
    this.#showSummary();
  }

  /** Empties one field, shown or not. */
  clear(id) {
    const field = this.#fields.find((field) => field.id === id);
    if (!field) return;
    field.input.value = "";
    this.#mark(field, null);
    this.#showSummary();
  }

  /** Shows an error of the server at its field; false when there is no such field here. */
  showError(api, message) {
    const field = this.#shown().find((field) => field.api === api);
    if (field) this.#show(field, message);
    return Boolean(field);
  }

  #shown() {
    return this.#fields.filter(({ modes }) => modes.includes(this.#mode));
  }

  #show(field, problem) {
    this.open(true);
    this.#mark(field, problem);
    field.input.focus();
  }

  #mark(field, problem) {
    field.input.setAttribute("aria-invalid", String(Boolean(problem)));
    field.error.hidden = !problem;
    field.error.textContent = problem ?? "";
  }

  #showSummary() {
    const set = this.#shown().filter((field) => field.api && text(field) !== "");
    const words = set.map((field) => `${field.label.toLowerCase()} ${field.input.selectedOptions?.[0]?.textContent ?? text(field)}`);
    this.#summary.textContent = words.length > 2 ? `${words.length} set` : words.join(" · ");
  }
}

function text(field) {
  return field.check ? "" : field.input.value.trim();
}

/** A field's row, with label, input, hint and a place for its error. */
function control(field) {
  const id = `option-${field.id}`;
  const described = `${id}-hint ${id}-error`;
  const error = el("p", { class: "field-error", id: `${id}-error`, role: "alert", hidden: true });
  const label = el("label", { htmlFor: id }, field.label);
  if (field.check) {
    const input = el("input", { type: "checkbox", id, checked: field.standard, "aria-describedby": `${id}-error` });
    return { input, error, row: el("div", { class: "option option-check" }, input, label, error) };
  }
  const input = field.choices
    ? el("select", { id }, ...field.choices.map(([value, word]) => el("option", { value }, word)))
    : el("input", { id, type: "text", inputMode: field.text ? "text" : field.number?.step < 1 ? "decimal" : "numeric", placeholder: field.placeholder ?? "", autocomplete: "off", spellcheck: false });
  input.setAttribute("aria-describedby", described);
  const { min, max } = field.number ?? {};
  const range = max === undefined ? "" : `${min} to ${Math.round(max * 100) / 100}`;
  const hint = el("p", { class: "hint", id: `${id}-hint` }, [field.hint, range && `${range}.`].filter(Boolean).join(" "));
  return { input, error, row: el("div", { class: field.wide ? "option option-wide" : "option" }, label, input, hint, error) };
}
