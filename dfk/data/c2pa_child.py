"""A process that reads C2PA manifests for another: see `dfk.data.c2pa_manifests`.

It is run as a file and imports nothing of dfk. For each file, 8 bytes of its length and its bytes
come in, and a line of JSON goes out: what `manifest` found, or an `error`.
"""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sys
from typing import Any

import c2pa

_MEMORY = 2**30  # Bytes of data that the process may have
_MOST, _LONGEST = 4, 500  # Values of a kind, and characters of each
# Nothing is fetched: no manifest that lies elsewhere, no revocation, no identity. The empty list
# of hosts alone would do.
SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {
        "allowed_network_hosts": [],
        "allow_redirects": False,
        "decode_identity_assertions": False,
        "max_decompressed_manifest_size_in_mb": 16,
    },
}
# Of every signer, where there is no list of whom to trust
_UNTRUSTED = "signingCredential.untrusted"


def main() -> None:
    """Answers until there is no more to read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other process, which ends it.
    with contextlib.suppress(ImportError, OSError, ValueError):  # Not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    while head := sys.stdin.buffer.read(8):
        data = sys.stdin.buffer.read(int.from_bytes(head, "big"))
        sys.stdout.write(json.dumps(manifest(data)) + "\n")
        sys.stdout.flush()
        del data  # It goes with its answer.


def manifest(data: bytes) -> dict[str, Any]:
    """What the manifest of a file says, and whether it holds.

    Returns:
        `state` (`Valid`, `Invalid`, `Trusted`), `fault` (the code of what is wrong), `signer`,
        `generator`, `sources` (digital source types), `agents`; or `error`; nothing where the file
        has no manifest.
    """
    try:
        with c2pa.Reader(None, io.BytesIO(data), context=c2pa.Context.from_dict(SETTINGS)) as read:
            return _told(json.loads(read.json()))
    except c2pa.C2paError.ManifestNotFound:
        return {}
    except Exception as error:  # Whatever a damaged manifest leads to
        if str(error).startswith("Remote: "):  # It lies elsewhere, which the file's XMP says, too.
            return {}
        return {"error": str(error)[:_LONGEST] or type(error).__name__}


def _told(store: dict[str, Any]) -> dict[str, Any]:
    manifests = store.get("manifests", {})
    active = manifests.get(store.get("active_manifest"), {})
    # An image that was edited has its making in the manifests of what it was made from.
    ordered = [active, *(x for x in manifests.values() if x is not active)]
    actions = [action for one in ordered for action in _actions(one)]
    failed = store.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
    codes = [failure["code"] for failure in failed if failure["code"] != _UNTRUSTED]
    return {
        "state": store.get("validation_state", "Invalid"),
        "fault": _texts(codes)[:1],
        "signer": _texts([(active.get("signature_info") or {}).get("issuer")]),
        "generator": _texts([_generator(active)]),
        "sources": _texts([action.get("digitalSourceType") for action in actions]),
        "agents": _texts([_name(action.get("softwareAgent")) for action in actions]),
    }


def _actions(one: dict[str, Any]) -> list[dict[str, Any]]:
    assertions = [x for x in one.get("assertions", []) if x["label"].startswith("c2pa.actions")]
    return [action for x in assertions for action in x["data"].get("actions", [])]


def _generator(one: dict[str, Any]) -> str:
    return _name(next(iter(one.get("claim_generator_info") or []), one.get("claim_generator")))


def _name(value: Any) -> str:
    """What names a program: a text, or a name and a version."""
    if isinstance(value, dict):
        return f"{value.get('name', '')} {value.get('version') or ''}".strip()
    return value


def _texts(values: list[Any]) -> list[str]:
    """The texts among values, each once."""
    once = dict.fromkeys(value for value in values if isinstance(value, str) and value)
    return [text[:_LONGEST] for text in once][:_MOST]


if __name__ == "__main__":
    main()
