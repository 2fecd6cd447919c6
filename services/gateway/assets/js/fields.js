// The options of a request: their names in the API, what they are called here, and what is allowed.

import { sizes } from "./model.js";

/**
 * The fields, from what the model takes. A field has `id`, `api` (its name in requests), `modes`, `label`, `hint`, and either
 * `choices` or the bounds of a number. Left empty it is not sent, and the server's default holds.
 */
export function fieldsOf(model) {
  const { defaults, limits } = model;
  const pictures = ["draw", "edit"];
  const standard = `${defaults.width}×${defaults.height}`;
  return [
    { id: "size", api: "size", modes: ["draw"], label: "Size", choices: [["", `${standard} standard`], ...sizes(model).map(({ value, label }) => [value, label])] },
    { id: "edit-size", api: "size", modes: ["edit"], label: "Size", choices: [["", "As the picture"], [`${defaults.width}x${defaults.height}`, `${standard} standard`], ...sizes(model).map(({ value, label }) => [value, label])] },
    number("n", "How many", { modes: pictures, min: 1, max: limits.max_n, standard: 1 }),
    { id: "seed", api: "seed", modes: [...pictures, "ask"], label: "Seed", digits: true, placeholder: "random", hint: "The same seed and words give the same result." },
    number("iterations", "Iterations", { modes: pictures, min: 1, max: limits.max_iterations, standard: defaults.iterations, hint: "Rounds in which the picture is revealed." }),
    number("head_steps", "Head steps", { modes: pictures, min: 1, max: limits.max_head_steps, standard: defaults.head_steps, hint: "Sampling steps within a round." }),
    number("guidance_scale", "Guidance", { modes: pictures, min: 0, max: limits.max_guidance_scale, standard: defaults.guidance_scale, step: 0.1, hint: "How strictly it keeps to the words; 1 is off." }),
    { id: "guidance_schedule", api: "guidance_schedule", modes: pictures, label: "Guidance over time", choices: [["", "constant"], ["linear", "growing"]] },
    number("temperature", "Temperature", { modes: pictures, min: 0, max: limits.max_temperature, standard: defaults.temperature, step: 0.05, hint: "Less is plainer, more is wilder." }),
    { id: "output_format", api: "output_format", modes: pictures, label: "File format", choices: [["", "PNG"], ["jpeg", "JPEG"], ["webp", "WebP"]] },
    number("max_tokens", "Longest answer", { modes: ["ask"], min: 1, max: limits.max_answer_tokens, standard: defaults.max_tokens, hint: "In tokens, which are pieces of words." }),
    number("ask-temperature", "Temperature", { api: "temperature", modes: ["ask"], min: 0, max: limits.max_temperature, standard: 0, step: 0.05, hint: "0 always gives the likeliest answer." }),
    number("top_p", "Top p", { modes: ["ask"], min: 0.01, max: 1, standard: 1, step: 0.01, hint: "Only among the likeliest words." }),
    { id: "negative_prompt", api: "negative_prompt", modes: pictures, label: "Keep away from", text: true, wide: true, placeholder: "nothing in particular" },
    { id: "preview", api: null, modes: pictures, label: "Show the picture while it forms", check: true, standard: true },
    { id: "history", api: null, modes: ["ask"], label: "Remember earlier questions about the same picture", check: true, standard: !model.knowsOnlyShapes },
  ];
}

function number(id, label, { api = id, modes, min, max, standard, step = 1, hint }) {
  return { id, api, modes, label, hint, number: { min, max, step }, placeholder: standard === undefined ? "" : round(standard) };
}

/** 32-bit floats come with noise behind their last real digit. */
function round(value) {
  return String(Math.round(value * 1e4) / 1e4);
}

/** What is wrong with a field's text, as a sentence, or null. */
export function problemOf(field, text) {
  if (text === "") return null;
  if (field.digits) return /^\d{1,20}$/.test(text) && BigInt(text) < 2n ** 64n ? null : "A whole number from 0 to 18446744073709551615.";
  if (!field.number) return null;
  const { min, max, step } = field.number;
  const value = Number(text);
  const range = max === undefined ? `at least ${min}` : `from ${min} to ${round(max)}`;
  if (!Number.isFinite(value) || value < min || (max !== undefined && value > max)) return `A number ${range}.`;
  return step === 1 && !Number.isInteger(value) ? `A whole number ${range}.` : null;
}
