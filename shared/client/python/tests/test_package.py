"""The package as it is committed: stubs, values, types, version, example."""

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

import unipic
from unipic.v1 import synthesis_pb2
from unipic.v1 import unipic_pb2 as pb

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[2]


def ended_well(*command: str | Path) -> str:
    """Runs Python on something and returns what it said."""
    run = subprocess.run([sys.executable, *map(str, command)], cwd=PACKAGE, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_stubs_are_those_of_the_proto_files():
    ended_well("regenerate.py", "--check")


def test_a_stale_stub_is_found(tmp_path):
    changed = tmp_path / "repo/shared/client/python"
    changed.mkdir(parents=True)
    (changed / "regenerate.py").write_text((PACKAGE / "regenerate.py").read_text())
    for name in ["proto", "src"]:
        source = ROOT / "proto" if name == "proto" else PACKAGE / "src"
        target = tmp_path / "repo/proto" if name == "proto" else changed / "src"
        for file in [*source.rglob("*.proto"), *source.rglob("*_pb2*.py*")]:
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(file.read_text())
    proto = tmp_path / "repo/proto/unipic/v1/unipic.proto"
    proto.write_text(proto.read_text().replace("string negative_prompt = 2;", "string negative_prompt = 22;"))
    command = [sys.executable, str(changed / "regenerate.py")]
    run = subprocess.run([*command, "--check"], capture_output=True, text=True)
    assert run.returncode == 1 and "unipic_pb2.py" in run.stderr and "regenerate.py" in run.stderr
    subprocess.run(command, check=True)
    subprocess.run([*command, "--check"], check=True)


def test_values_have_every_field_of_their_messages():
    renamed = {"Picture": {"image": "number"}, "Preview": {"image": "number"}}
    values = [
        (unipic.Queued, pb.Queued),
        (unipic.Progress, pb.Progress),
        (unipic.Preview, pb.Preview),
        (unipic.Picture, pb.ImageResult),
        (unipic.Resumed, synthesis_pb2.Resumed),
        (unipic.CropBox, pb.CropBox),
        (unipic.Done, pb.ImageDone),
        (unipic.ImageSettings, pb.ImageOptions),
        (unipic.Timings, synthesis_pb2.SynthesisTimings),
        (unipic.Answer, pb.UnderstandDone),
        (unipic.Model, pb.GetModelResponse),
        (unipic.Limits, pb.Limits),
    ]
    for value, message in values:
        names = {renamed.get(value.__name__, {}).get(f.name, f.name) for f in message.DESCRIPTOR.fields}
        assert {f.name for f in fields(value)} - {"history"} == names, value
    given = {"images": pb.ImageOptions, "questions": pb.UnderstandRequest}
    taken = {
        "images": unipic.DrawOptions.__annotations__.keys()
        - unipic.CallOptions.__annotations__.keys()
        - {"negative_prompt"},
        "questions": unipic.AskOptions.__annotations__.keys() - unipic.CallOptions.__annotations__.keys() | {"turns"},
    }
    for what, message in given.items():
        assert taken[what] == {f.name for f in message.DESCRIPTOR.fields}, what


def test_both_clients_have_the_same_methods():
    public = [{name for name in vars(kind) if not name.startswith("_")} for kind in (unipic.Client, unipic.AsyncClient)]
    assert public[0] == public[1]


def test_the_version_is_the_workspaces():
    own = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]["version"]
    assert own == tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def test_types_are_checked_and_shipped(tmp_path):
    assert (Path(unipic.__file__).parent / "py.typed").is_file()
    ended_well("-m", "mypy", "--cache-dir", tmp_path)
    user = tmp_path / "user.py"
    user.write_text(
        "import unipic\n"
        "client = unipic.Client()\n"
        'reveal_type(client.generate("x", seed=1).image)\n'
        'reveal_type(client.ask("x").candidate_logprobs)\n'
        'client.generate("x", sede=1)\n'
        'client.generate("x", output_format="gif")\n'
        'client.edit("circle.png", "x")\n'
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(user)]
    environment = {**os.environ, "MYPYPATH": str(PACKAGE / "src")}
    said = subprocess.run(command, cwd=PACKAGE, env=environment, capture_output=True, text=True).stdout
    assert 'note: Revealed type is "PIL.Image.Image"' in said, said
    assert re.search(r'Revealed type is "(builtins\.)?dict\[(builtins\.)?str, (builtins\.)?float\]"', said), said
    assert {line.split(":")[1] for line in said.splitlines() if ": error:" in line} == {"5", "6", "7"}, said


def test_the_code_is_formatted():
    ended_well("-m", "ruff", "format", "--check", "--no-cache")
    ended_well("-m", "ruff", "check", "--no-cache")


@pytest.mark.parametrize("name", ["draw_edit_ask.py"])
def test_the_example_runs(server, tmp_path, name):
    said = ended_well(PACKAGE / "examples" / name, server.address, tmp_path)
    for file in ["sheet.png", "edited.png"]:
        assert (tmp_path / file).read_bytes().startswith(b"\x89PNG")
    assert "options.width: " in said and "'yes': " in said and "3 previews" in said
