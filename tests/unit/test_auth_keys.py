"""Tokens that are checked with the public half of a pair of keys."""

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from chatsync.errors import Unauthorized
from chatsync.gateway.auth import Authenticator
from chatsync.settings import load
from unit.tokens import HS256, payload, refusal, signed

PRIVATE_KEYS = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def public_pem(algorithm: str) -> str:
    return (
        PRIVATE_KEYS[algorithm]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def with_public_key(algorithm: str) -> Authenticator:
    return Authenticator(load(jwt_algorithm=algorithm, jwt_public_key=public_pem(algorithm)))


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
async def test_a_public_key_reads_the_tokens_of_its_private_one(algorithm: str):
    token = jwt.encode(payload(), PRIVATE_KEYS[algorithm], algorithm=algorithm)
    assert (await with_public_key(algorithm).claims(token)).tenant_id == "t1"


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
async def test_a_public_key_is_never_taken_for_a_shared_secret(algorithm: str):
    token = signed(payload(), HS256, secret=public_pem(algorithm))
    with pytest.raises(Unauthorized):
        await with_public_key(algorithm).claims(token)
    forged = signed(payload(), {"alg": algorithm}, secret=public_pem(algorithm))
    with pytest.raises(Unauthorized):
        await with_public_key(algorithm).claims(forged)


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
async def test_another_algorithm_of_the_same_private_key_is_not_taken(algorithm: str):
    token = jwt.encode(payload(), PRIVATE_KEYS["RS256"], algorithm=algorithm)
    with pytest.raises(Unauthorized):
        await with_public_key("RS256").claims(token)


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
async def test_a_token_of_another_kind_of_key_is_unauthorized(algorithm: str):
    for other, key in PRIVATE_KEYS.items():
        if other != algorithm:
            with pytest.raises(Unauthorized):
                await with_public_key(algorithm).claims(jwt.encode(payload(), key, algorithm=other))


async def test_a_shared_secret_takes_no_token_of_a_private_key():
    token = jwt.encode(payload(), PRIVATE_KEYS["RS256"], algorithm="RS256")
    assert type(await refusal(token)) is Unauthorized
