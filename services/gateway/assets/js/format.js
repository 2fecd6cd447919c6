// Numbers and names as people read them.

/** "850 ms", "3.2 s", "1 min 20 s". */
export function durationText(ms) {
  if (ms < 950) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** "17 KiB", "4.0 MiB". */
export function bytesText(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  const kib = bytes / 1024;
  return kib < 1024 ? `${Math.round(kib)} KiB` : `${(kib / 1024).toFixed(1)} MiB`;
}

/** A file name without surprises for a made picture: words of its prompt, then its seed. */
export function fileName(picture) {
  const words = picture.prompt.toLowerCase().match(/[a-z0-9]+/g) ?? [];
  const slug = words.slice(0, 8).join("-").slice(0, 60) || "picture";
  const number = picture.index > 0 ? `-${picture.index + 1}` : "";
  return `${slug}${picture.seed ? `-${picture.seed}` : ""}${number}.${extension(picture.blob.type)}`;
}

/** The usual extension of a media type. */
export function extension(mediaType) {
  return { "image/jpeg": "jpg", "image/webp": "webp" }[mediaType] ?? "png";
}

/** The bytes of base64 as a blob whose type is read from its first bytes, so that it is right whatever was asked for. */
export function blobOfBase64(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const type = bytes[0] === 0xff ? "image/jpeg" : bytes[0] === 0x52 ? "image/webp" : "image/png";
  return new Blob([bytes], { type });
}

/** Puts text on the clipboard; also where the page has no secure origin and so no clipboard API. */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  // Inside an open dialog everything else is inert and cannot be selected.
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("the browser does not allow copying");
}
