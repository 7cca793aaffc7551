"""https with a certificate made on the fly."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from backend.errors import BackendError, ConfigError
from backend.evaluation.children import Child, free_port
from backend.server.tls import tls_options
from backend.settings import Settings, as_environment, load_settings

ROOT = Path(__file__).resolve().parents[2]


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cert.pem and key.pem for localhost, other.pem another key, locked.pem with a password."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is needed to make a certificate")
    made = tmp_path_factory.mktemp("tls")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    for name in ("cert", "other"):
        key = made / ("key.pem" if name == "cert" else "other.pem")
        out = ("-keyout", str(key), "-out", str(made / f"{name}-chain.pem"))
        openssl("req", "-x509", *curve, "-days", "2", *names, *out)
    (made / "cert-chain.pem").rename(made / "cert.pem")
    locked = ("-aes256", "-passout", "pass:hunter2", "-out", str(made / "locked.pem"))
    openssl("pkey", "-in", str(made / "key.pem"), *locked)
    (made / "no.pem").write_bytes(b"\x30\x82\x01\x0a")
    return made


def test_without_files_the_server_speaks_http() -> None:
    assert tls_options(load_settings()) == {}


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("nowhere.pem", "key.pem", "TLS_CERT_FILE=.* cannot be read: No such file"),
        ("cert.pem", "nowhere.pem", "TLS_KEY_FILE=.* cannot be read: No such file"),
        ("no.pem", "key.pem", "TLS_CERT_FILE=.* is not a PEM file"),
        ("cert.pem", "other.pem", "cannot be used together: KEY_VALUES_MISMATCH"),
        ("key.pem", "cert.pem", "cannot be used together"),
        ("cert.pem", "locked.pem", "protected by a password"),
    ],
)
def test_files_that_cannot_serve(folder: Path, certificate: str, key: str, words: str) -> None:
    settings = load_settings(tls_cert_file=folder / certificate, tls_key_file=folder / key)
    with pytest.raises(ConfigError, match=words) as caught:
        tls_options(settings)
    assert caught.value.remedy


@pytest.mark.parametrize("variable", ["TLS_CERT_FILE", "TLS_KEY_FILE"])
def test_one_file_alone_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(folder / "cert.pem"))
    with pytest.raises(BackendError, match="set together or not at all"):
        load_settings()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_serve_speaks_https_alone(
    folder: Path,
    settings: Callable[..., Settings],
    until: Callable[..., None],
    tmp_path: Path,
) -> None:
    port = free_port()
    files = {"tls_cert_file": folder / "cert.pem", "tls_key_file": folder / "key.pem"}
    given = as_environment(settings(host="127.0.0.1", port=port, **files))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **given}
    command = [sys.executable, "-m", "backend"]
    url = f"https://localhost:{port}/healthz"
    server = Child("server", [*command, "serve"], env=environment, log_path=tmp_path / "log")
    with server, httpx.Client(verify=trusting(folder), trust_env=False) as client:
        until(lambda: server.returncode is not None or answers(client, url), timeout_s=60)
        assert client.get(url).json() == {"status": "UP"}
        probed = subprocess.run([*command, "probe"], env=environment, capture_output=True)
        assert probed.returncode == 0, probed.stderr
        assert not answers(client, url.replace("https", "http"))
        old_version, weak_cipher = trusting(folder), trusting(folder)
        old_version.maximum_version = ssl.TLSVersion.TLSv1_1
        weak_cipher.maximum_version = ssl.TLSVersion.TLSv1_2
        weak_cipher.set_ciphers("ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0")
        for refused in (old_version, weak_cipher):
            with httpx.Client(verify=refused, trust_env=False) as old:
                assert not answers(old, url)
    assert "Traceback" not in server.tail(100)


def test_up_tells_of_wrong_files_before_it_starts_anything(folder: Path, tmp_path: Path) -> None:
    """That it speaks https with right ones is seen in tests/security/test_secrets.py."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "DATA_DIR": str(tmp_path / "data"),
        "TLS_CERT_FILE": str(folder / "cert.pem"),
        "TLS_KEY_FILE": str(folder / "other.pem"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "backend", "up"]
    wrong = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert wrong.returncode != 0
    assert "KEY_VALUES_MISMATCH" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert not (tmp_path / "data").exists()


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))


def answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False
