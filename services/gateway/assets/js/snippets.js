// The same request for other tools: curl over HTTP, grpcurl and our Python package over gRPC. Prompts are quoted for each language, so that
// pasting one into a shell runs nothing but the request.

import { isExtended, marginsOf, SIDES } from "./margins.js";
import { pythonCode } from "./python.js";
import { changeOf, MASK_NAME } from "./requests.js";

/** A string as one word of a POSIX shell. */
export function shellWord(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Base64 of a file in the middle of a shell word; without options of `base64` that only some systems have. */
const inlined = (name) => `'"$(base64 < ${shellWord(name)} | tr -d '\\n')"'`;

/** JSON with the seed as a bare number. */
function json(body, indent) {
  const text = JSON.stringify(body, null, indent);
  return text.replace(/("seed": ?)"(\d+)"/, "$1$2");
}

/** The options with the seed that was used in place of the one that was asked for, and what an edit has besides. */
function exact({ mode, options, seed, source }) {
  const { partial_images: _, ...given } = options;
  const rest = mode === "edit" ? { ...given, ...changeOf(source) } : given;
  return seed === null || seed === undefined ? rest : { ...rest, seed: String(seed) };
}

const extensionOf = (options) => ({ jpeg: "jpg", webp: "webp" })[options.output_format] ?? "png";

/**
 * Code for a made picture or a question, as { curl, grpcurl, python }. `origin` is this server, `model` what it serves; a `keyed` one asks for
 * a key, which the code takes from the environment.
 */
export function snippets(made, origin, model, keyed) {
  return { curl: curl(made, origin, keyed), grpcurl: grpcurl(made, origin, model, keyed), python: python(made, origin, model, keyed) };
}

function sourceName(made, i = 0) {
  return (made.mode === "ask" ? made.sources[i]?.name : made.source?.name) ?? "source.png";
}

/** The turns of a question, earlier ones first, each with its text and how many of the pictures come with it. */
function turnsOf({ prompt, history, sources }) {
  const earlier = history.flatMap(({ question, answer }) => [
    { role: "user", text: question },
    { role: "assistant", text: answer },
  ]);
  return [...earlier, { role: "user", text: prompt }].map((turn, i) => ({ ...turn, pictures: i === 0 ? sources.map((_, at) => at) : [] }));
}

/** A header with the key from the environment. */
const KEY_HEADER = '-H "Authorization: Bearer $UNIPIC_API_KEY"';

function curl(made, origin, keyed) {
  const options = exact(made);
  const key = keyed ? `  ${KEY_HEADER} \\\n` : "";
  const save = `jq -r '.data[${made.index ?? 0}].b64_json' | base64 -d > picture.${extensionOf(options)}`;
  if (made.mode === "draw") {
    const body = json({ prompt: made.prompt, ...options }, 2);
    return `curl -sS ${origin}/v1/images/generations \\\n${key}  -H 'Content-Type: application/json' \\\n  -d ${shellWord(body)} |\n  ${save}\n`;
  }
  if (made.mode === "edit") {
    const fields = Object.entries(options).map(([name, value]) => `  --form-string ${shellWord(`${name}=${value}`)} \\\n`);
    const mask = made.source?.mask ? `  -F 'mask=@"${MASK_NAME}"' \\\n` : "";
    return `curl -sS ${origin}/v1/images/edits \\\n${key}  -F ${shellWord(`image=@"${sourceName(made).replaceAll('"', '\\"')}"`)} \\\n${mask}${fields.join("")}  --form-string ${shellWord(`prompt=${made.prompt}`)} |\n  ${save}\n`;
  }
  const messages = turnsOf(made).map(({ role, text, pictures }) => {
    if (pictures.length === 0) return { role, content: text };
    return { role, content: [...pictures.map((i) => ({ type: "image_url", image_url: { url: `@IMAGE${i}@` } })), { type: "text", text }] };
  });
  const body = shellWord(json({ model: made.model, messages, ...options }, 2));
  // The picture is too long for a command line, so the body goes in by a pipe.
  const filled = made.sources.reduce((text, source, i) => text.replace(`@IMAGE${i}@`, () => `data:${source.blob.type};base64,${inlined(sourceName(made, i))}`), body);
  return `printf '%s' ${filled} |\n  curl -sS ${origin}/v1/chat/completions \\\n${key}  -H 'Content-Type: application/json' -d @- |\n  jq -r '.choices[0].message.content'\n`;
}

/** Options that proto JSON writes otherwise. */
const OTHERWISE = ["feather", "size", "output_format", "negative_prompt", "guidance_schedule", ...SIDES.map((side) => `extend_${side}`)];
const FORMATS = { jpeg: "IMAGE_FORMAT_JPEG", webp: "IMAGE_FORMAT_WEBP", png: "IMAGE_FORMAT_PNG" };

/** Options as the ImageOptions message in proto JSON. */
function imageOptions(options) {
  const rest = Object.fromEntries(Object.entries(options).filter(([name]) => !OTHERWISE.includes(name)));
  if (options.size) [rest.width, rest.height] = options.size.split("x").map(Number);
  if (options.guidance_schedule) rest.guidance_schedule = `GUIDANCE_SCHEDULE_${options.guidance_schedule.toUpperCase()}`;
  if (options.output_format) rest.output_format = FORMATS[options.output_format];
  return rest;
}

function grpcurl(made, origin, model, keyed) {
  const options = exact(made);
  const flag = (origin.startsWith("https:") ? "" : " -plaintext") + (keyed ? ` ${KEY_HEADER}` : "");
  const call = (method, body) => `grpcurl${flag} -max-msg-sz 67108864 -d @ \\\n  ${model.grpcAddress} unipic.v1.UniPic/${method}`.replace("-d @", body);
  const negative = options.negative_prompt ? { negative_prompt: options.negative_prompt } : {};
  // A field that is zero is left out.
  const save = `jq -r 'select(.image and (.image.image // 0) == ${made.index ?? 0}) | .image.data' | base64 -d > picture.${extensionOf(options)}`;
  if (made.mode === "draw") {
    const body = JSON.stringify({ prompt: made.prompt, ...negative, options: imageOptions(options) }, null, 2);
    return `${call("Generate", `-d ${shellWord(body)}`)} |\n  ${save}\n`;
  }
  const file = (i) => inlined(sourceName(made, i));
  if (made.mode === "edit") {
    const mask = made.source?.mask ? { mask: { image: "@MASK@", convention: "MASK_CONVENTION_TRANSPARENT" } } : {};
    const extend = isExtended(made.source) ? { extend: marginsOf(made.source) } : {};
    const where = { ...mask, ...extend, feather: options.feather };
    const body = shellWord(JSON.stringify({ image: "@IMAGE0@", ...where, instruction: made.prompt, ...negative, options: imageOptions(options) }, null, 2));
    const filled = body.replace("@IMAGE0@", () => file(0)).replace("@MASK@", () => inlined(MASK_NAME));
    return `printf '%s' ${filled} |\n  ${call("Edit", "-d @")} |\n  ${save}\n`;
  }
  const turns = turnsOf(made).map(({ role, text, pictures }) => ({ role: `ROLE_${role.toUpperCase()}`, parts: [...pictures.map((i) => ({ image: `@IMAGE${i}@` })), { text }] }));
  const body = shellWord(JSON.stringify({ turns, ...options }, null, 2));
  const filled = made.sources.reduce((text, _, i) => text.replace(`@IMAGE${i}@`, () => file(i)), body);
  return `printf '%s' ${filled} |\n  ${call("Understand", "-d @")} |\n  jq -j '.text_delta // .textDelta // empty'\n`;
}

function python(made, origin, model, keyed) {
  const options = exact(made);
  const address = origin.startsWith("https:") ? `https://${model.grpcAddress}` : model.grpcAddress;
  const turns = made.mode === "ask" ? turnsOf(made) : [];
  return pythonCode({ made, options, turns, name: (i) => sourceName(made, i), address, keyed, file: `picture.${extensionOf(options)}` });
}
