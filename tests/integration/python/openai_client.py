"""Draws, edits and asks with OpenAI's package: a server of ours is one base_url away.

    python openai_client.py http://HOST:PORT/v1 [PORT]

With PORT, a picture is served there for a question about an address; the server has to be allowed to fetch from it.

The test `openai_client.rs` runs this file as it is, so the README can point here.
"""

import base64
import json
import struct
import sys
import threading
import zlib
from http.server import BaseHTTPRequestHandler, HTTPServer

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
model = client.models.list().data[0].id

# What OpenAI's API has no name for goes into extra_body.
small = {"seed": 7, "iterations": 4, "head_steps": 5}


def draw():
    answer = client.images.generate(
        model=model, prompt="a red circle", n=2, response_format="b64_json", extra_body=small
    )
    return [base64.b64decode(image.b64_json) for image in answer.data]


drawn = draw()
same_bytes = drawn == draw() and drawn[0] != drawn[1]

edited = client.images.edit(
    model=model, image=("drawn.png", drawn[0]), prompt="make the circle blue", extra_body=small
)
edited = edited.data[0].b64_json


def mask_of(width, height, is_redrawn):
    """A PNG that is transparent where the picture is to be redrawn. With Pillow: Image.new("RGBA", size) and putalpha."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def row(y):
        return b"\0" + b"".join(b"\0\0\0" + (b"\0" if is_redrawn(x, y) else b"\xff") for x in range(width))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    pixels = zlib.compress(b"".join(row(y) for y in range(height)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# The left half is redrawn, the right half comes back as it was.
width, height = struct.unpack(">II", drawn[0][16:24])
mask = mask_of(width, height, lambda x, y: x < width // 2)


def redraw(**options):
    answer = client.images.edit(
        model=model,
        image=("drawn.png", drawn[0]),
        mask=("mask.png", mask),
        prompt="make the circle blue",
        extra_body=small | options,
    )
    return answer.data[0].b64_json


hard = redraw()
redraws = {"same_bytes": hard == redraw(), "other_than_whole": hard != edited, "feathered": hard != redraw(feather=8)}

stream = client.images.generate(model=model, prompt="a red circle", stream=True, partial_images=1, extra_body=small)
events = [event.type for event in stream]

def question(url):
    image = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [image, {"type": "text", "text": "What is in the picture?"}]}]


about_edited = question(f"data:image/png;base64,{edited}")
options = {"model": model, "messages": about_edited, "max_tokens": 16, "seed": 1}
answer = client.chat.completions.create(**options)
chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)



class Picture(BaseHTTPRequestHandler):
    """Any path is the edited picture."""

    def do_GET(self):
        file = base64.b64decode(edited)
        self.send_response(200)
        self.send_header("Content-Length", str(len(file)))
        self.end_headers()
        self.wfile.write(file)

    def log_message(self, *_):
        pass


same_from_address = None
if len(sys.argv) > 2:
    address = f"127.0.0.1:{sys.argv[2]}"
    pictures = HTTPServer(("127.0.0.1", int(sys.argv[2])), Picture)
    threading.Thread(target=pictures.serve_forever, daemon=True).start()
    fetched = client.chat.completions.create(**options | {"messages": question(f"http://{address}/edited.png")})
    same_from_address = fetched.choices[0].message.content == answer.choices[0].message.content

refused = []
try:
    client.images.edit(image=("a.png", drawn[0]), mask=("m.png", drawn[0]), prompt="blue")
except openai.BadRequestError as error:
    refused.append(error.param)
try:
    client.images.generate(model="dall-e-3", prompt="a red circle")
except openai.NotFoundError as error:
    refused.append(error.status_code)
try:
    client.chat.completions.create(model=model, messages=[{"role": "system", "content": "Be brief."}])
except openai.BadRequestError as error:
    refused.append(error.param)

print(
    json.dumps(
        {
            "model": model,
            "images": len([image for image in drawn if image.startswith(b"\x89PNG")]),
            "same_bytes": same_bytes,
            "redraws": redraws,
            "events": events,
            "same_text": streamed == answer.choices[0].message.content and answer.usage == chunks[-1].usage,
            "same_from_address": same_from_address,
            "refused": refused,
        }
    )
)
