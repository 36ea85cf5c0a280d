"""How secrets in a request to create are stored: encrypted as agent-server does it, or masked; never plain.

Source: openhands-sdk 1.58, utils/cipher.py: Fernet with the SHA-256 of OH_SECRET_KEY.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from app.model.new_conversation import Seal, mask_all
from app.settings import Settings


def make_seal(settings: Settings) -> Seal:
    """Return what makes of a secret the text that may be stored."""
    if settings.secret_key is None:
        return mask_all
    from cryptography.fernet import Fernet  # noqa: PLC0415 - slow to import, and only creating needs it

    fernet = Fernet(b64encode(sha256(settings.secret_key.get_secret_value().encode()).digest()))
    return lambda secret: fernet.encrypt(secret.encode()).decode()
