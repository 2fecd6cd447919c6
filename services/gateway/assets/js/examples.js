// What can be tried first: prompts from the model's world. Those to edit or ask about bring a sample picture with them.

const at = (colour, shape, x, y, side = 0.36) => ({ colour, shape, x, y, side });

const ABOVE = { objects: [at("red", "circle", 0.5, 0.27), at("blue", "square", 0.5, 0.73)] };
const BESIDE = { objects: [at("yellow", "star", 0.28, 0.5, 0.4), at("purple", "triangle", 0.73, 0.52, 0.36)] };
const THREE = { objects: [at("green", "diamond", 0.25, 0.3, 0.34), at("orange", "cross", 0.72, 0.3, 0.34), at("pink", "circle", 0.5, 0.74, 0.34)] };

/** Examples for the model that knows only coloured shapes; `scene` is what the prompt describes or starts from. */
const SHAPES = {
  draw: [
    { prompt: "a red circle above a blue square", scene: ABOVE },
    { prompt: "a yellow star left of a purple triangle", scene: BESIDE },
    { prompt: "a green diamond on a black background", scene: { background: "black", objects: [at("green", "diamond", 0.5, 0.5, 0.5)] } },
  ],
  edit: [
    { prompt: "make the circle green", scene: ABOVE },
    { prompt: "replace the star with an orange cross", scene: BESIDE },
    { prompt: "remove the circle", scene: THREE },
  ],
  ask: [
    { prompt: "What colour is the star?", scene: BESIDE },
    { prompt: "How many objects are there?", scene: THREE },
    { prompt: "Is the red circle above the blue square?", scene: ABOVE },
  ],
};

/** Examples for a model of the whole world; it can edit and be asked about the same samples. */
const WORLD = {
  draw: [
    { prompt: "A glass teapot on a wooden table in morning light, steam rising" },
    { prompt: "A small red sailing boat on a calm grey sea, watercolour" },
    { prompt: "A fox asleep under a birch tree in autumn, soft colours" },
  ],
  edit: [
    { prompt: "Make the circle a sun and the square a house", scene: ABOVE },
    { prompt: "Turn it into a night sky", scene: BESIDE },
    { prompt: "Redraw it as coloured paper on a desk", scene: THREE },
  ],
  ask: SHAPES.ask,
};

/** The examples for a model, by mode. */
export function examplesOf(model) {
  return model.knowsOnlyShapes ? SHAPES : WORLD;
}
