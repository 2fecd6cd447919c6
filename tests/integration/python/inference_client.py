r"""Embeds a picture by the Open Inference Protocol, as clients of KServe and Triton do, and compares with `Embed`.

    python inference_client.py HOST:PORT STUBS_DIR PICTURE

STUBS_DIR holds what grpcio-tools makes of the proto folder, `inference/open_inference.proto` included; see `client.py`.
"""

import json
import struct
import sys
from pathlib import Path

import grpc
from PIL import Image

address, stubs, picture = sys.argv[1], sys.argv[2], Path(sys.argv[3])
sys.path.insert(0, stubs)
from inference import open_inference_pb2 as oip, open_inference_pb2_grpc  # noqa: E402
from unipic.v1 import unipic_pb2 as pb, unipic_pb2_grpc  # noqa: E402

channel = grpc.insecure_channel(address)
models = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
unipic = unipic_pb2_grpc.UniPicStub(channel)

assert models.ServerLive(oip.ServerLiveRequest(), timeout=10).live
assert models.ServerReady(oip.ServerReadyRequest(), timeout=10).ready


def embedded(model, raw, **tensor):
    """Shape and bytes of the embeddings, by ModelInfer."""
    request = oip.ModelInferRequest(
        model_name=model,
        inputs=[oip.ModelInferRequest.InferInputTensor(**tensor)],
        outputs=[oip.ModelInferRequest.InferRequestedOutputTensor(name="embeddings")],
        raw_input_contents=[raw],
    )
    answer = models.ModelInfer(request, timeout=60)
    return list(answer.outputs[0].shape), answer.raw_output_contents[0]


file, image = picture.read_bytes(), Image.open(picture).convert("RGB")
paths = {"siglip2": pb.ENCODER_PATH_SIGLIP2, "mar": pb.ENCODER_PATH_MAR}
told = {}
for model in [name for name in paths if models.ModelReady(oip.ModelReadyRequest(name=name), timeout=10).ready]:
    metadata = models.ModelMetadata(oip.ModelMetadataRequest(name=model), timeout=10)
    shape, by_file = embedded(
        model, struct.pack("<I", len(file)) + file, name="image", datatype="BYTES", shape=[1]
    )
    _, by_pixels = embedded(
        model, image.tobytes(), name="pixels", datatype="UINT8", shape=[1, image.height, image.width, 3]
    )
    frames = unipic.Embed(pb.EmbedRequest(image=file, encoder_path=paths[model]), timeout=60)
    by_embed = b"".join(frame.frame.data for frame in frames)
    told[model] = {
        "shape": shape == list(metadata.outputs[0].shape) and len(by_file) == 4 * shape[1] * shape[2],
        "same": by_file == by_pixels == by_embed,
    }
print(json.dumps(told))
