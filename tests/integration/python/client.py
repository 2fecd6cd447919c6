r"""Draws a picture, edits it and asks about it, over gRPC, with nothing but grpcio.

    python client.py HOST:PORT STUBS_DIR OUT_DIR

STUBS_DIR holds what grpcio-tools makes of the proto folder:

    python -m grpc_tools.protoc --proto_path=proto --python_out=STUBS_DIR --grpc_python_out=STUBS_DIR \
        proto/unipic/v1/{tensor,decoder,synthesis,unipic}.proto

The test `python_client.rs` does so and runs this file as it is, so the README can point here.
"""

import json
import sys
from pathlib import Path

import grpc

address, stubs, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
sys.path.insert(0, stubs)
from unipic.v1 import unipic_pb2 as pb, unipic_pb2_grpc  # noqa: E402

channel = grpc.insecure_channel(address)
unipic = unipic_pb2_grpc.UniPicStub(channel)

model = unipic.GetModel(pb.GetModelRequest(), timeout=10)
size = model.image_defaults.width
options = pb.ImageOptions(seed=7, iterations=4, head_steps=5, width=size, height=size)


def pictures(events):
    """The finished images of a stream of events; progress goes to stderr."""
    for event in events:
        kind = event.WhichOneof("event")
        if kind == "progress":
            print(f"iteration {event.progress.iteration}/{event.progress.iterations}", file=sys.stderr)
        elif kind == "image":
            yield event.image


drawn = next(iter(list(pictures(unipic.Generate(pb.GenerateRequest(prompt="a red circle", options=options), timeout=120)))))
(out / "drawn.png").write_bytes(drawn.data)

edit = pb.EditRequest(image=drawn.data, instruction="make the circle blue", options=options)
edited = list(pictures(unipic.Edit(edit, timeout=120)))[0]
(out / "edited.png").write_bytes(edited.data)

question = pb.UnderstandRequest(
    turns=[pb.Turn(role=pb.ROLE_USER, parts=[pb.Part(image=edited.data), pb.Part(text="What is in the picture?")])],
    max_tokens=16,
)
deltas, done = [], None
for event in unipic.Understand(question, timeout=120):
    if event.WhichOneof("event") == "text_delta":
        deltas.append(event.text_delta)
    elif event.WhichOneof("event") == "done":
        done = event.done

try:
    list(unipic.Generate(pb.GenerateRequest(prompt="", options=pb.ImageOptions(width=17)), timeout=10))
    refused = None
except grpc.RpcError as error:
    refused = error.code().name

print(
    json.dumps(
        {
            "model": model.name,
            "size": [drawn.width, drawn.height],
            "seed": drawn.seed,
            "same_text": "".join(deltas) == done.text,
            "completion_tokens": done.completion_tokens,
            "refused": refused,
        }
    )
)
