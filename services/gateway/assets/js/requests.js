// Requests as the API takes them. A request of this page is
// { mode: "draw" | "edit" | "ask", prompt, options, sources, history }: `options` has the API's names and only what was set,
// `sources` are attached pictures (of an edit perhaps with a `mask`, { blob, feather }, and margins, `extend`), `history` earlier questions about them.

import { featherOf, marginsOf, SIDES } from "./margins.js";

/** JSON whose seed is a bare number of any length; `seed` is a string of digits. */
function withSeed(body, seed) {
  const text = JSON.stringify(body);
  return seed === undefined ? text : `${text.slice(0, -1)},"seed":${seed}}`;
}

/** The body of a drawing: streamed, with previews. */
export function jsonBody({ prompt, options }) {
  const { seed, ...rest } = options;
  return withSeed({ prompt, ...rest, response_format: "b64_json", stream: true, progress: true }, seed);
}

/** What the file of a mask is called, here and in the code that is shown. */
export const MASK_NAME = "mask.png";

/** What an edit has besides: margins, and how soft the seam is. */
export function changeOf(source) {
  const margins = marginsOf(source);
  const sides = SIDES.filter((side) => margins[side] > 0).map((side) => [`extend_${side}`, margins[side]]);
  const feather = featherOf(source);
  return { ...Object.fromEntries(sides), ...(feather > 0 ? { feather } : {}) };
}

/** The form of an edit. */
export function editForm({ prompt, options, sources }) {
  const form = new FormData();
  form.append("image", sources[0].blob, sources[0].name);
  form.append("prompt", prompt);
  const { mask } = sources[0];
  if (mask) form.append("mask", mask.blob, MASK_NAME);
  for (const [name, value] of Object.entries({ ...options, ...changeOf(sources[0]) })) form.append(name, String(value));
  form.append("response_format", "b64_json");
  form.append("stream", "true");
  form.append("progress", "true");
  return form;
}

/** A blob as a data URI. */
export function dataUri(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** The turns of a question: earlier ones first. Pictures come once, in the first turn. */
async function messages({ prompt, sources, history }) {
  const images = await Promise.all(sources.map(async ({ blob }) => ({ type: "image_url", image_url: { url: await dataUri(blob) } })));
  const turns = [];
  for (const { question, answer } of history) {
    turns.push({ role: "user", content: [{ type: "text", text: question }] });
    turns.push({ role: "assistant", content: answer });
  }
  turns.push({ role: "user", content: [{ type: "text", text: prompt }] });
  turns[0].content.unshift(...images);
  return turns;
}

/** The body of a question, streamed. */
export async function answerBody(request) {
  const { seed, ...rest } = request.options;
  const body = {
    model: request.model,
    messages: await messages(request),
    ...rest,
    stream: true,
    progress: true,
    stream_options: { include_usage: true },
  };
  return withSeed(body, seed);
}
