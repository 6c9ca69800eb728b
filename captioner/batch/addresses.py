"""Addresses as people give them, and as they may be shown."""

import re

SECRETS = (
    "x-amz-credential", "x-amz-signature", "x-amz-security-token", "x-goog-credential",
    "x-goog-signature", "awsaccesskeyid", "signature", "sig", "token", "access_token", "password",
    "secret",
)  # fmt: skip
"""Names of the parts of an address that let whoever has it in."""

_QUERY = re.compile(rf"(?i)(?<=[?&;])((?:{'|'.join(SECRETS)})=)[^&;#\s]+")
# A secret key may hold slashes; what follows a host's name and a colon may be its port.
_USER = re.compile(r"(?<=://)(?:[^/@:\s]*:(?!\d+/)[^@\s]*@)")
_WEB_USER = re.compile(r"(?i)(https?://)[^/@\s]+@")


def is_url(path: str) -> bool:
    """Whether it is an address of the web."""
    return path.lstrip().lower().startswith(("http://", "https://"))  # lists may be indented


def redacted(text: str) -> str:
    """An address, or a text with addresses in it, without names, passwords and signatures. It is
    the photo's name: one whose signature is another tomorrow is the same photo."""
    if "://" not in text:
        return text
    return _QUERY.sub(r"\1REDACTED", _USER.sub("", _WEB_USER.sub(r"\1", text)))
