// Runs a request to its end: events to the turn's view, made pictures to the gallery, and again where the server asks to wait.

import { events } from "./api.js";
import { RequestError } from "./errors.js";
import { blobOfBase64, durationText } from "./format.js";

/** How often a request is tried again by itself before the person is asked. */
const RETRIES = 8;

/** Runs a request in its turn. Resolves to true when it came to a good end; errors and stops are shown in the turn. */
export async function run(turn, pictures, signal) {
  for (let attempt = 0; ; attempt++) {
    turn.begin();
    try {
      const facts = turn.request.mode === "ask" ? await answer(turn, signal) : await draw(turn, pictures, signal);
      turn.done(facts);
      return true;
    } catch (error) {
      try {
        if (signal.aborted) throw signal.reason;
        if (!(error instanceof RequestError) || error.retryAfterMs === null || attempt >= RETRIES) throw error;
        await turn.wait(error, error.retryAfterMs, signal);
      } catch (last) {
        if (signal.aborted) turn.stopped();
        else turn.failed(last);
        return signal.aborted ? false : last;
      }
    }
  }
}

async function draw(turn, pictures, signal) {
  const { request } = turn;
  let made = 0;
  for await (const event of events(request, signal)) {
    if (event.type?.endsWith(".partial_image")) {
      turn.preview(event.image_index ?? 0, blobOfBase64(event.b64_json));
    } else if (event.type?.endsWith(".progress")) {
      showProgress(turn, event);
    } else if (event.type?.endsWith(".queued")) {
      showQueue(turn, event);
    } else if (event.type?.endsWith(".completed")) {
      const index = event.image_index ?? made;
      turn.picture(index, await pictures.add(await pictureOf(request, event, index)));
      made += 1;
    }
  }
  return [];
}

/** Tells how far a request is: in iterations, and in the time that is left. */
function showProgress(turn, { iteration, iterations, remaining_ms: left }) {
  if (!iteration || !iterations) return turn.progress(null, "Taking shape…");
  turn.progress(Math.min(iteration / iterations, 1), left < 1000 ? "Nearly done" : `About ${left < 60_000 ? `${Math.round(left / 1000)} s` : durationText(left)} left`);
}

/** Tells how many requests are served first. */
function showQueue(turn, { position }) {
  turn.progress(null, position === 0 ? "Next in line…" : `${position} ${position === 1 ? "request" : "requests"} ahead…`);
}

/** A finished event as a picture of the gallery, with all that is needed to make it again. */
async function pictureOf(request, event, index) {
  const blob = blobOfBase64(event.b64_json);
  const { width, height } = await createImageBitmap(blob).then(
    (bitmap) => bitmap,
    () => ({ width: null, height: null }),
  );
  const { prompt, mode, sources, model } = request;
  const { partial_images: _, ...options } = request.options;
  const seed = event.seed === undefined ? (options.seed ?? null) : String(event.seed);
  const [source] = sources.map(({ blob, name, label, width, height, mask, extend }) => ({ blob, name, label, width, height, mask: mask ?? null, extend: extend ?? null }));
  return { blob, width, height, prompt, mode, model, options, seed, index, source: source ?? null };
}

async function answer(turn, signal) {
  let facts = [];
  for await (const event of events(turn.request, signal)) {
    if (event.type?.endsWith(".queued")) showQueue(turn, event);
    turn.text(event.choices?.[0]?.delta?.content ?? "");
    if (event.choices?.[0]?.finish_reason === "length") facts = ["cut at its longest length", ...facts];
    if (event.usage) facts = [...facts, `${event.usage.completion_tokens} tokens`];
  }
  return facts;
}
