// Masks as files: a PNG of the picture's size, transparent where the picture is redrawn and opaque elsewhere, as OpenAI's API has
// it; and as paint on a canvas.

import { el } from "./dom.js";

/** What paint looks like; only how opaque it is counts. */
export const PAINT = "#2b4bbd";

/** Whether any pixel of a canvas is painted. */
export function isPainted(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 3; i < data.length; i += 4) if (data[i] > 127) return true;
  return false;
}

/** The mask's file for what is painted, at the size of the picture. */
export function fileOf(painted, { width, height }) {
  const canvas = el("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.fillRect(0, 0, width, height);
  // Without smoothing a pixel is either of the two.
  context.imageSmoothingEnabled = false;
  context.globalCompositeOperation = "destination-out";
  context.drawImage(painted, 0, 0, width, height);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The mask could not be made."))), "image/png"));
}

/** Paints what a mask's file redraws. */
export async function restore(canvas, blob) {
  const context = canvas.getContext("2d");
  context.fillStyle = PAINT;
  context.fillRect(0, 0, canvas.width, canvas.height);
  const bitmap = await createImageBitmap(blob);
  context.globalCompositeOperation = "destination-out";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "source-over";
  bitmap.close();
}
