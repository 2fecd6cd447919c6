"""Draws, edits and asks, cell by cell. Editors that know `# %%` run it like a notebook.

    python draw_edit_ask.py [ADDRESS] [OUT_DIR]

ADDRESS is a running server's, such as that of `unipic serve`: 127.0.0.1:50051 where none is given.
"""

# %% Connect
import sys
from pathlib import Path

from PIL import Image

import unipic

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
out = Path(sys.argv[2] if len(sys.argv) > 2 else ".")

client = unipic.Client(address, timeout=600)
model = client.model()
print(f"{model.name}: up to {model.limits.max_n} images of {model.limits.max_output_pixels} pixels at once")

# %% Draw four variations of one prompt, and watch
drawing = client.generate(
    "a red circle above a blue square",
    n=4,
    seed=7,
    on_progress=lambda step: print(f"iteration {step.iteration} of {step.iterations}", file=sys.stderr),
)
print(f"seed {drawing.seed}, {drawing.timings.total_ms:.0f} ms")

# %% See them side by side: `picture.image` is a PIL image
width, height = drawing.image.size
sheet = Image.new("RGB", (width * len(drawing.pictures), height))
for picture in drawing.pictures:
    sheet.paste(picture.image, (picture.number * width, 0))
sheet.save(out / "sheet.png")

# %% Edit the first one, previews and all; a PIL image goes in as well as a picture or a path
previews: list[unipic.Preview] = []
edited = client.edit(drawing.image, "make the circle green", seed=1, preview_every=4, on_preview=previews.append)
edited.picture.save(out / "edited.png")
print(f"edited, with {len(previews)} previews on the way")

# %% Ask about it: the text comes as it is made
answer = client.ask(edited.picture, "How many shapes are there?", on_text=lambda text: print(text, end="", flush=True))
print(f" ({answer.completion_tokens} tokens, {answer.finish_reason})")

# %% Go on with the conversation
answer = client.ask("What colour is the circle?", history=answer.history)
print(answer.text)

# %% Two pictures in one question, and how likely two answers are
judged = client.ask(drawing.picture, edited.picture, "Is there a circle?", candidates=["yes", "no"])
print({words: round(logprob, 2) for words, logprob in judged.candidate_logprobs.items()})

# %% What is wrong with a request is told field by field
try:
    client.generate("", width=17)
except unipic.InvalidRequest as error:
    for violation in error.violations:
        print(f"{violation.field}: {violation.description}")

# %%
client.close()
