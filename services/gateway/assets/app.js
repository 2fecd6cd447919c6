// The playground: draw, edit and ask in one conversation, over the HTTP API of the server that serves this page.
//
// Plain modules that the browser loads as they are: there is no build step, so what is served is what is in the repository.

import { fetchModel } from "./js/api.js";
import { Composer } from "./js/composer.js";
import { byId, el } from "./js/dom.js";
import { errorTitle } from "./js/errors.js";
import { fileName } from "./js/format.js";
import { Gallery } from "./js/gallery.js";
import { icon } from "./js/icons.js";
import { listen } from "./js/keyboard.js";
import { listenForFiles } from "./js/drop.js";
import { modelOf } from "./js/model.js";
import { Pictures } from "./js/pictures.js";
import { run } from "./js/run.js";
import { sample } from "./js/scenes.js";
import { sourceOfPicture } from "./js/sources.js";
import { themeSwitch } from "./js/theme.js";
import { Turn } from "./js/turn.js";
import { Viewer } from "./js/viewer.js";
import { showWelcome } from "./js/welcome.js";

/** Milliseconds between two looks at a server that is not ready. */
const LOOK_MS = 3000;

const stage = byId("stage");
const pictures = new Pictures();
let model = null;
let running = null;
/** The answered questions of this conversation, in order. */
let answered = [];

const composer = new Composer({ onSend: send, onStop: stop, onMode: attachLatest });
const viewer = new Viewer({ edit: (picture) => use("edit", picture), ask: (picture) => use("ask", picture), reuse, forget: ({ id }) => pictures.remove(id) });
const details = (made) => viewer.open(made, model);
const gallery = new Gallery(pictures, details);
const toEnd = followEnd();

function stop() {
  running?.abort();
}

/** A made picture into the tray of a mode. */
function use(mode, picture) {
  composer.fill({ mode, sources: [asSource(picture)] });
}

function asSource(picture) {
  return sourceOfPicture(picture, fileName(picture));
}

/** A request once more: its words, options, seed and pictures. */
function reuse({ mode, prompt, options, seed, source, sources }) {
  const again = source ? [{ ...source, url: URL.createObjectURL(source.blob) }] : (sources ?? []);
  composer.fill({ mode, prompt, options: { ...options, ...(seed ? { seed } : {}) }, sources: again });
}

/** Whoever turns to editing or asking with nothing attached means the picture made last. */
function attachLatest(mode) {
  const [latest] = pictures.all;
  if (mode !== "draw" && composer.sources.all.length === 0 && latest && byId("conversation").childElementCount > 0) {
    composer.sources.set([asSource(latest)]);
  }
}

/** Earlier questions about the same pictures, newest last, as many as the model takes. */
function historyOf({ mode, sources, remembers }) {
  if (mode !== "ask" || !remembers) return [];
  const same = answered.filter((turn) => turn.blobs.length === sources.length && turn.blobs.every((blob, i) => blob === sources[i].blob));
  const most = Math.max(0, Math.floor(((model.limits.max_turns ?? 1) - 1) / 2));
  return most === 0 ? [] : same.slice(-most);
}

async function send(request) {
  request.history = historyOf(request);
  const turn = new Turn(request, {
    edit: (picture) => use("edit", picture),
    ask: (picture) => use("ask", picture),
    reuse,
    details,
    again: (failed) => running === null && start(failed),
    stop,
  });
  byId("welcome").hidden = true;
  byId("conversation").append(turn.node);
  await start(turn);
}

async function start(turn) {
  const { request } = turn;
  const before = pictures.all[0];
  running = new AbortController();
  composer.running = true;
  toEnd();
  const outcome = await run(turn, pictures, running.signal);
  running = null;
  composer.running = false;
  if (outcome === true) {
    // An empty answer is no turn that a conversation can hold.
    if (request.mode === "ask" && turn.answerText.trim()) answered.push({ question: request.prompt, answer: turn.answerText, blobs: request.sources.map(({ blob }) => blob) });
    // Edits go on from what the last one made, as in a conversation.
    const [made] = pictures.all;
    if (request.mode === "edit" && composer.mode === "edit" && made !== before && composer.sources.all[0] === request.sources[0]) composer.sources.set([asSource(made)]);
  } else if (outcome?.param) {
    composer.showError(outcome.param, outcome.message);
  }
}

/** Runs an example, with its sample picture where it needs one. */
async function tryExample(mode, { prompt, scene }) {
  const sources = [];
  if (mode !== "draw") {
    const side = Math.min(model.defaults.width, model.defaults.height);
    const blob = await sample(scene, side);
    sources.push({ blob, url: URL.createObjectURL(blob), name: "sample.png", label: "Sample picture", width: side, height: side });
  }
  composer.fill({ mode, prompt, sources });
  composer.send();
}

/** Keeps the newest text and picture in sight, unless the person has scrolled up to read. Returns what turns it on again. */
function followEnd() {
  let following = true;
  let last = 0;
  stage.addEventListener("scroll", () => {
    const atEnd = stage.scrollHeight - stage.scrollTop - stage.clientHeight < 80;
    // Content that grows also leaves the end behind, before it is followed; only going up is the person's wish.
    if (atEnd || stage.scrollTop < last) following = atEnd;
    last = stage.scrollTop;
  });
  const follow = () => following && stage.scrollTo({ top: stage.scrollHeight });
  const observer = new ResizeObserver(follow);
  observer.observe(byId("conversation"));
  observer.observe(stage);
  return () => {
    following = true;
    follow();
  };
}

/** Shows what is served, once the server tells it. */
async function connect() {
  const banner = byId("banner");
  for (;;) {
    try {
      model = modelOf(await fetchModel());
      break;
    } catch (error) {
      const wait = error.retryAfterMs ?? LOOK_MS;
      banner.replaceChildren(icon("alert"), el("p", {}, el("strong", {}, `${errorTitle(error)}. `), error.message, " This page looks again by itself."));
      banner.hidden = false;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  banner.hidden = true;
  composer.model = model;
  byId("model").textContent = model.name;
  byId("model").title = model.notices.join("\n") || "The model that this server runs";
  byId("model").hidden = false;
  showWelcome(byId("welcome"), model, tryExample);
  byId("welcome").hidden = byId("conversation").childElementCount > 0;
}

themeSwitch(byId("theme"));
listenForFiles((files) => composer.attach(files));
listen({
  send: () => composer.send(),
  stop: () => gallery.closeOverlay() || stop(),
  mode: (mode) => composer.setMode(mode),
  options: () => composer.options.toggle(),
  gallery: () => gallery.toggle(),
});
await Promise.all([pictures.load(), connect()]);
if (matchMedia("(pointer: fine)").matches) byId("prompt").focus();
