import pytest

from chatsync.providers.whatsapp_cloud import sign, signature_fits

SECRET = "a-secret-of-this-test"

# Made with `openssl dgst -sha256 -hmac a-secret-of-this-test`, not with the code under test.
VECTORS: list[tuple[bytes, str]] = [
    (b"", "6b0bd903c1568304e1a2c7632f0b3575f9f78340254a43f3426d629c43b4c399"),
    (b'{"entry":[]}', "327fa88377167918a5ba428769971e96a9b9d5d4d4c0911a14dbfa3e3468a783"),
    (
        '{"text":"olá 😮"}'.encode(),
        "a1d76e0f2b7f063e09ed1d6cb6f275fab98f47cfe6cf5cea805dcdfb4c5fa179",
    ),
    # The same text as Meta escapes it: other bytes, another signature.
    (
        rb'{"text":"ol\u00e1 \ud83d\ude2e"}',
        "3ac632736ed61916ddd5fbb44ec599a888b3cad5af89de2b6b2fa6eb2e90266e",
    ),
]
BODY, DIGEST = VECTORS[1]
SHA1 = "212387a1ff307e2d948b6897458b1066f4c7c920"


@pytest.mark.parametrize(("body", "digest"), VECTORS, ids=["empty", "ascii", "utf-8", "escaped"])
def test_a_signature_over_the_raw_bytes_fits(body: bytes, digest: str):
    assert signature_fits(f"sha256={digest}", body, [SECRET])
    assert sign(body, SECRET) == f"sha256={digest}"


def test_a_secret_may_hold_any_text():
    digest = "af967c79a74a2f7bcf890d762951161b30e8aab98088985fd651c38baf06aef3"
    assert signature_fits(f"sha256={digest}", BODY, ["ségrédo"])


def test_a_signature_of_another_body_does_not_fit():
    for body, digest in VECTORS:
        for other, _ in VECTORS:
            assert signature_fits(f"sha256={digest}", other, [SECRET]) == (other == body)


@pytest.mark.parametrize("body", [BODY[:-1], BODY + b"\n", BODY + b"\x00", b" " + BODY, b""])
def test_a_signature_of_a_truncated_or_longer_body_does_not_fit(body: bytes):
    assert not signature_fits(f"sha256={DIGEST}", body, [SECRET])


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "sha256=",
        "sha256",
        DIGEST,
        f"sha1={SHA1}",
        f"sha1={DIGEST}",
        f"sha256={SHA1}",
        f"SHA256={DIGEST}",
        f"sha256={DIGEST.upper()}",
        f"sha256={DIGEST[:-1]}",
        f"sha256={DIGEST[:-2]}",
        f"sha256={DIGEST}0",
        f"sha256={DIGEST}00",
        f"sha256= {DIGEST}",
        f" sha256={DIGEST}",
        f"sha256={DIGEST} ",
        f"sha256={DIGEST}\n",
        f"sha256={DIGEST},sha256={DIGEST}",
        f"sha1={SHA1},sha256={DIGEST}",
        f"sha256=sha256={DIGEST}",
        f"sha256={DIGEST[:-1]}g",
        f"sha256={DIGEST[:-1]}é",
        f"sha256={DIGEST[:-1]}\u0663",
        "sha256=é",
        "sha256=" + "\uff10" * 64,
        "sha256=" + "0" * 64,
        f"sha256:{DIGEST}",
        "x" * 65_536,
    ],
    ids=lambda header: ascii(header)[:90],
)
def test_a_header_that_is_not_exactly_the_signature_is_wrong_and_not_an_error(header: str | None):
    assert not signature_fits(header, BODY, [SECRET])


def test_either_secret_fits_while_one_is_being_rotated():
    header = sign(BODY, "old")
    assert signature_fits(header, BODY, ["new", "old"])
    assert signature_fits(header, BODY, ("old", "new"))
    assert not signature_fits(header, BODY, ["new"])


def test_without_a_secret_nothing_fits():
    assert not signature_fits(f"sha256={DIGEST}", BODY, [])
    assert not signature_fits(sign(BODY, ""), BODY, ())
