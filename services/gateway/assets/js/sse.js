// Server-sent events out of a response to POST, which the browser's EventSource cannot do.

/** Yields the `data` of every event of a response, parts of a chunk and of a character joined. */
export async function* serverSentEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      const lines = (rest + (done ? "\n\n" : value)).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) {
          data.push(line.slice(line[5] === " " ? 6 : 5));
        } else if (line === "" && data.length > 0) {
          yield data.join("\n");
          data = [];
        }
      }
      if (done) return;
    }
  } finally {
    // Also when the consumer stops early: the server then stops too.
    await reader.cancel().catch(() => {});
  }
}
