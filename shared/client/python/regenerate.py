"""Makes the package's stubs from the proto files of the repository.

    python regenerate.py            # rewrites src/unipic/v1
    python regenerate.py --check    # compares instead, and ends with 1 where they differ

It needs grpcio-tools, in the version that pyproject.toml names: the stubs say which one made them. What is generated is the
public service's file and whatever it imports, so a new import needs no line here.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTO = HERE.parents[2] / "proto"
SERVICE = "unipic/v1/unipic.proto"
# protoc's own files, such as google/protobuf/timestamp.proto.
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


def run_protoc(*arguments: str) -> None:
    """Runs protoc over the proto folder, and raises where it refuses."""
    command = ["protoc", f"--proto_path={PROTO}", f"--proto_path={WELL_KNOWN}", *arguments]
    if protoc.main(command) != 0:
        raise SystemExit(f"protoc failed: {' '.join(command)}")


def imported_files(scratch: Path) -> list[str]:
    """The service's file and those of ours that it imports, however far away."""
    descriptors = scratch / "descriptors.bin"
    run_protoc(f"--descriptor_set_out={descriptors}", "--include_imports", SERVICE)
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file
    return [file.name for file in files if file.name.startswith("unipic/")]


def generate(into: Path) -> None:
    """Writes the stubs below `into`, where the package `unipic.v1` then lies."""
    with tempfile.TemporaryDirectory() as scratch:
        files = imported_files(Path(scratch))
    run_protoc(f"--python_out={into}", f"--pyi_out={into}", *files)
    run_protoc(f"--grpc_python_out={into}", SERVICE)


def stubs(folder: Path) -> dict[str, str]:
    """Every generated file of the folder with its text."""
    return {path.name: path.read_text() for path in sorted((folder / "unipic/v1").glob("*_pb2*.py*"))}


def main() -> None:
    """Generates, and writes or compares."""
    parser = argparse.ArgumentParser(description="Makes the package's stubs from the proto files of the repository.")
    parser.add_argument(
        "--check", action="store_true", help="compare instead of writing; ends with 1 where they differ"
    )
    is_check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        made, committed = stubs(fresh), stubs(HERE / "src")
    if is_check:
        stale = sorted(name for name in made.keys() | committed.keys() if made.get(name) != committed.get(name))
        if stale:
            sys.exit(f"stale stubs: {', '.join(stale)}; run `python shared/client/python/regenerate.py`")
        return
    target = HERE / "src/unipic/v1"
    for name in committed.keys() - made.keys():
        (target / name).unlink()
    for name, text in made.items():
        (target / name).write_text(text)


if __name__ == "__main__":
    main()
