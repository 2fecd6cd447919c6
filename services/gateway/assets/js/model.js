// What the server serves, as the rest of the page uses it.

const FALLBACK = {
  stride: 16,
  defaults: { n: 1, width: 128, height: 128 },
  limits: { max_n: 4, max_images: 1, max_turns: 1 },
};

/** Reads an entry of /v1/models. */
export function modelOf(entry) {
  const told = entry.unipic ?? {};
  return {
    name: String(entry.id),
    stride: told.stride ?? FALLBACK.stride,
    defaults: { ...FALLBACK.defaults, ...told.defaults },
    limits: { ...FALLBACK.limits, ...told.limits },
    /** Where gRPC clients find the same server; its port is the usual one where the server does not say. */
    grpcAddress: `${location.hostname}:${told.grpc_port ?? 50051}`,
    notices: Array.isArray(told.notices) ? told.notices.map(String) : [],
    /** nano knows a world of coloured shapes and nothing else, so its examples come from there. */
    knowsOnlyShapes: String(entry.id) === "nano",
  };
}

/** Sizes to offer: the default and, around it, other shapes of about its area and a larger square where that is allowed. */
export function sizes({ stride, defaults, limits }) {
  const { width, height } = defaults;
  const snap = (value) => Math.max(stride, Math.round(value / stride) * stride);
  const area = width * height;
  const most = limits.max_output_pixels ?? area;
  const shape = (ratio) => [snap(Math.sqrt(area * ratio)), snap(Math.sqrt(area / ratio))];
  const wanted = [
    ["landscape", ...shape(3 / 2)],
    ["portrait", ...shape(2 / 3)],
    ["wide", ...shape(2)],
    ["small", snap(width / 2), snap(height / 2)],
    ["large", snap(width * 1.5), snap(height * 1.5)],
    ["largest", Math.floor(Math.sqrt(most) / stride) * stride, Math.floor(Math.sqrt(most) / stride) * stride],
  ];
  const seen = new Set([`${width}x${height}`]);
  const fitting = wanted.filter(([, w, h]) => {
    const size = `${w}x${h}`;
    if (w * h > most || seen.has(size)) return false;
    seen.add(size);
    return true;
  });
  return fitting.map(([word, w, h]) => ({ value: `${w}x${h}`, label: `${w}×${h} ${word}` }));
}

/** The size an edit of a picture should have: its own where that is allowed, else its shape at about the default area. */
export function fittingSize(picture, { stride, defaults, limits }) {
  const area = defaults.width * defaults.height;
  const most = limits.max_output_pixels ?? area;
  const { width, height } = picture;
  if (!width || !height) return null;
  if (width % stride === 0 && height % stride === 0 && width * height <= most && width * height <= area * 1.01) return `${width}x${height}`;
  const ratio = Math.min(Math.max(width / height, 1 / 4), 4);
  const down = (value) => Math.max(stride, Math.floor(value / stride + 0.3) * stride);
  return `${down(Math.sqrt(area * ratio))}x${down(Math.sqrt(area / ratio))}`;
}
