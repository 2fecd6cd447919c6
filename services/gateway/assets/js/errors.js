// What can go wrong between this page and the server, in words for a person.

/** An error that the server told, or that kept it from telling anything. */
export class RequestError extends Error {
  /**
   * `status` is the HTTP status (0 where there was no answer), `param` the field that is wrong, `retryAfterMs` how long the
   * server asked to wait, null where trying again is no use by itself.
   */
  constructor(message, { status = 0, param = null, code = null, retryAfterMs = null } = {}) {
    super(message);
    this.name = "RequestError";
    Object.assign(this, { status, param, code, retryAfterMs });
  }
}

/** How long to wait where a busy server does not say. */
const RETRY_MS = 5000;

const TITLES = {
  400: "The server refused the request",
  401: "The server wants a key",
  403: "The server does not allow this",
  404: "This server does not have that",
  413: "That is too large for the server",
  415: "The server does not read that kind of file",
  422: "The server refused the request",
  429: "The server is busy",
  499: "The request was cancelled",
  500: "Something went wrong on the server",
  502: "A part of the server did not answer",
  503: "The server is not ready",
  504: "The server ran out of time",
};

/** A heading for an error. */
export function errorTitle(error) {
  if (!(error instanceof RequestError)) return "Something went wrong on this page";
  if (error.status === 0) return error.code === "stream_ended" ? "The connection was lost" : "The server cannot be reached";
  return TITLES[error.status] ?? "The request failed";
}

/** Reads `Retry-After`: seconds or a date. */
function retryAfterMs(response) {
  const header = response.headers.get("retry-after");
  if (header === null) return RETRY_MS;
  const ms = /^\s*\d+(\.\d+)?\s*$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 600_000) : RETRY_MS;
}

/** The error that a response with a bad status tells. */
export async function errorOfResponse(response) {
  const { status } = response;
  const retry = status === 429 || status === 503 ? retryAfterMs(response) : null;
  const body = await response.json().catch(() => null);
  return errorOfBody(body, status, retry);
}

/** The error in an `{"error": {…}}` body. */
function errorOfBody(body, status, retryMs) {
  const told = body?.error ?? {};
  // What the heading says already.
  const message = typeof told.message === "string" ? told.message.replace(/^invalid request: /, "") : `The server answered with status ${status}.`;
  const code = typeof told.code === "string" ? told.code : null;
  const param = typeof told.param === "string" ? told.param : null;
  return new RequestError(message, { status, param, code, retryAfterMs: retryMs });
}

/** The error that a stream tells after it began well; its body has the status that the response could no longer have. */
export function errorOfEvent(event) {
  const status = event.error.status ?? 500;
  return errorOfBody(event, status, status === 429 || status === 503 ? RETRY_MS : null);
}

/** The error of a fetch that got no answer, or the abort itself. */
export function errorOfFetch(error) {
  if (error instanceof RequestError || error.name === "AbortError") return error;
  // Browsers reject with a TypeError for every network failure, without saying which.
  if (error instanceof TypeError) return new RequestError("No answer came. Check that the server is running, then try again.");
  return error;
}
