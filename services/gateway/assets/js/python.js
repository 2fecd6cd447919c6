// A request as code for the Python package `unipic`.

import { featherOf, isExtended, marginsOf, SIDES } from "./margins.js";
import { MASK_NAME } from "./requests.js";

/** A string or a number as a literal of Python: what JSON escapes in a string, Python reads the same. */
const literal = JSON.stringify;

/** A file of the person's. */
const path = (name) => `Path(${literal(name)})`;

/** Options as keyword arguments. A seed may be longer than a JavaScript number holds, and is a text of digits here. */
function keywords(options) {
  const { size, ...rest } = options;
  const [width, height] = size ? size.split("x") : [];
  const sized = size ? { width, height } : {};
  return Object.entries({ ...rest, ...sized }).map(([name, value]) => `${name}=${["seed", "width", "height"].includes(name) ? value : literal(value)}`);
}

/** Where and how softly an edit redraws. */
function change(source) {
  const given = [];
  if (source?.mask) given.push(`mask=${path(MASK_NAME)}`, 'mask_marks="transparent"');
  if (isExtended(source)) {
    const margins = marginsOf(source);
    const sides = SIDES.filter((side) => margins[side] > 0).map((side) => `${literal(side)}: ${margins[side]}`);
    given.push(`extend={${sides.join(", ")}}`);
  }
  if (featherOf(source) > 0) given.push(`feather=${featherOf(source)}`);
  return given;
}

/** The earlier turns of a question as a list, and what comes before its words. */
function conversation(turns, name) {
  const parts = ({ text, pictures }) => [...pictures.map((i) => path(name(i))), literal(text)];
  const turn = (turn) => `unipic.${turn.role}(${parts(turn).join(", ")})`;
  const earlier = turns.slice(0, -1).map(turn);
  const history = earlier.length > 0 ? [`history=[\n${earlier.map((line) => `            ${line},\n`).join("")}        ]`] : [];
  return [...parts(turns.at(-1)), ...history];
}

/**
 * Code for a request. `options` are those of the API with the seed that was used, `turns` those of a question, each with the
 * numbers of its pictures, `name` tells what a picture's file is called.
 */
export function pythonCode({ made, options, turns, name, address, keyed, file }) {
  const { feather: _, ...plain } = Object.fromEntries(Object.entries(options).filter(([option]) => !option.startsWith("extend_")));
  const given = {
    draw: () => [literal(made.prompt)],
    edit: () => [path(name(0)), literal(made.prompt), ...change(made.source)],
    ask: () => conversation(turns, name),
  }[made.mode]();
  const method = { draw: "generate", edit: "edit", ask: "ask" }[made.mode];
  const result = made.mode === "ask" ? "answer" : "drawing";
  const call = `    ${result} = client.${method}(\n${[...given, ...keywords(plain)].map((line) => `        ${line},\n`).join("")}    )\n`;
  const [stem, extension] = file.split(".");
  const several = `    for picture in drawing.pictures:\n        picture.save(f"${stem}-{picture.number}.${extension}")\n`;
  const end = made.mode === "ask" ? "    print(answer.text)\n" : options.n > 1 ? several : `    drawing.picture.save(${literal(file)})\n`;
  const needed = [...(keyed ? ["import os"] : []), ...(call.includes("Path(") ? ["from pathlib import Path"] : [])];
  const imports = needed.length > 0 ? `${needed.join("\n")}\n\n` : "";
  const key = keyed ? ', api_key=os.environ["UNIPIC_API_KEY"]' : "";
  return `${imports}import unipic  # pip install shared/client/python\n\nwith unipic.Client(${literal(address)}${key}) as client:\n${call}${end}`;
}
