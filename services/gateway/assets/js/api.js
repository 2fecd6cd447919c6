// The calls of the HTTP API that this page makes.

import { RequestError, errorOfEvent, errorOfFetch, errorOfResponse } from "./errors.js";
import { answerBody, editForm, jsonBody } from "./requests.js";
import { serverSentEvents } from "./sse.js";

/**
 * Parses JSON without rounding seeds: they go up to 2^64 - 1 and a JavaScript number holds whole ones up to 2^53, so a
 * longer one becomes a string of digits.
 */
function parse(text) {
  // Within a JSON string the quote before the colon is escaped, so only real keys match.
  return JSON.parse(text.replace(/("seed"\s*:\s*)(\d{16,})/g, '$1"$2"'));
}

/** Where the key is kept that the server asks for: in this tab, until it is closed. */
const KEY = "unipic-api-key";

/** Whether this server was given a key. */
export const isKeyed = () => sessionStorage.getItem(KEY) !== null;

/** Fetches with the key, where there is one. A key that is refused is asked for again. */
async function fetchWithKey(path, init) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = key ? { ...init.headers, authorization: `Bearer ${key}` } : init.headers;
    const response = await fetch(path, { ...init, headers });
    if (response.status !== 401) return response;
    const typed = window.prompt("This server asks for an API key.")?.trim();
    if (!typed) return response;
    sessionStorage.setItem(KEY, typed);
  }
}

async function call(path, init) {
  let response;
  try {
    response = await fetchWithKey(path, init);
  } catch (error) {
    throw errorOfFetch(error);
  }
  if (!response.ok) throw await errorOfResponse(response);
  return response;
}

/** What the server serves: the entry of the model in /v1/models. */
export async function fetchModel(signal) {
  const response = await call("v1/models", { signal });
  const list = parse(await response.text());
  const model = list?.data?.[0];
  if (!model) throw new RequestError("The server lists no model.", { status: 503, retryAfterMs: 5000 });
  return model;
}

/** The events of a request for pictures or for an answer, each as parsed JSON. Aborting the signal stops the server. */
export async function* events(request, signal) {
  const init = { method: "POST", signal, headers: { accept: "text/event-stream" } };
  let path;
  if (request.mode === "draw") {
    path = "v1/images/generations";
    init.body = jsonBody(request);
  } else if (request.mode === "edit") {
    path = "v1/images/edits";
    init.body = editForm(request);
  } else {
    path = "v1/chat/completions";
    init.body = await answerBody(request);
  }
  // A form sets its own type, with its boundary.
  if (typeof init.body === "string") init.headers["content-type"] = "application/json";
  const response = await call(path, init);
  let complete = false;
  try {
    for await (const data of serverSentEvents(response)) {
      if (data === "[DONE]") {
        complete = true;
        continue;
      }
      const event = parse(data);
      if (event.error) throw errorOfEvent(event);
      complete ||= String(event.type).endsWith(".completed");
      yield event;
    }
  } catch (error) {
    const told = errorOfFetch(error);
    throw told instanceof RequestError && told.status === 0 ? lost() : told;
  }
  if (!complete) throw lost();
}

function lost() {
  return new RequestError("The answer broke off before its end.", { code: "stream_ended" });
}
