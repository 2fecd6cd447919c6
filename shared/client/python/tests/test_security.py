"""Keys and TLS against a real server."""

import hashlib
from pathlib import Path

import pytest
import trustme
from conftest import CHEAP

import unipic

KEY = "unipic_" + "5a" * 32
ONCE = unipic.RetryPolicy(attempts=1)


@pytest.fixture(scope="module")
def keyed(start_server):
    sha256 = hashlib.sha256(KEY.encode()).hexdigest()
    server = start_server(f'[[auth.keys]]\ntenant = "acme"\nsha256 = "{sha256}"')
    with unipic.Client(server.address) as client:
        client.wait_until_serving(timeout=120)
    return server


def test_a_key_opens_and_none_or_another_does_not(keyed):
    with unipic.Client(keyed.address, api_key=f" {KEY}\n", timeout=300) as client:
        assert client.generate("a red circle", **CHEAP).picture.data
        assert KEY not in repr(vars(client)) and KEY not in repr(client._settings)
    for wrong in [None, "unipic_" + "00" * 32]:
        with unipic.Client(keyed.address, api_key=wrong) as client, pytest.raises(unipic.Unauthenticated) as caught:
            client.model()
        assert caught.value.reason == "NO_CREDENTIAL" and "00" * 32 not in str(caught.value)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def encrypted(start_server, authority, tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(folder / "ca.crt")
    issued.private_key_pem.write_to_path(folder / "tls.key")
    (folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    lines = [f'certificate = "{folder}/tls.crt"', f'key = "{folder}/tls.key"', f'client_ca = "{folder}/ca.crt"']
    return start_server("\n".join(["[tls]", *lines])), folder


def client_tls(authority, folder: Path, **more) -> unipic.Tls:
    mine = authority.issue_cert("client")
    chain = b"".join(blob.bytes() for blob in mine.cert_chain_pems)
    settings = {"ca": folder / "ca.crt", "certificate": chain, "key": mine.private_key_pem.bytes(), **more}
    return unipic.Tls(**settings)


def test_mutual_tls(encrypted, authority):
    server, folder = encrypted
    address = f"https://localhost:{server.port}"
    with unipic.Client(address, tls=client_tls(authority, folder), timeout=300) as client:
        client.wait_until_serving(timeout=120)
        assert client.generate("a red circle", **CHEAP).picture.data
    # By address, the certificate's name has to be told.
    named = client_tls(authority, folder, server_name="localhost")
    with unipic.Client(f"https://127.0.0.1:{server.port}", tls=named) as client:
        assert client.model().name


def test_strangers_are_refused(encrypted, authority):
    server, folder = encrypted
    foreign = trustme.CA()
    strangers = {
        "no certificate": unipic.Tls(ca=folder / "ca.crt"),
        "foreign certificate": client_tls(foreign, folder),
        "foreign server": client_tls(authority, folder, ca=foreign.cert_pem.bytes()),
        "public authorities only": unipic.Tls(),
        "another name": client_tls(authority, folder, server_name="elsewhere"),
    }
    for who, tls in strangers.items():
        with unipic.Client(f"https://localhost:{server.port}", tls=tls, retries=ONCE) as client:
            with pytest.raises(unipic.Unavailable):
                client.model()
            print(who, "was refused")
    with unipic.Client(f"localhost:{server.port}", retries=ONCE) as client, pytest.raises(unipic.Unavailable):
        client.model()


def test_settings_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="https://"):
        unipic.Client("localhost:1", tls=unipic.Tls())
    with pytest.raises(ValueError, match="both `certificate` and `key`"):
        unipic.Client("https://localhost:1", tls=unipic.Tls(certificate=b"x"))
    with pytest.raises(FileNotFoundError, match="gone"):
        unipic.Client("https://localhost:1", tls=unipic.Tls(ca=tmp_path / "gone.crt"))
    assert "secret" not in repr(unipic.Tls(certificate=b"public", key=b"secret"))
