"""What schemathesis cannot know: what an image is, which models there are.

Loaded by ``SCHEMATHESIS_HOOKS=tests.fuzz.hooks``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import schemathesis

from tests.support import sample_images

IMAGE = sample_images.png()
MODEL = "a-tiny"


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Send an image where random bytes would end at the decoder, but not always; never nothing."""
    if isinstance(body, dict):
        for name in ("image_file", "image"):
            data = body.get(name)
            if isinstance(data, bytes) and (len(data) % 2 or not data):
                body[name] = IMAGE
    return body


@schemathesis.hook
def filter_query(context: schemathesis.HookContext, query: Any) -> bool:
    """Leave lines of more than 8 kB out, which the server answers before there is a route."""
    return len(urlencode(query or {})) < 7000


@schemathesis.hook
def map_path_parameters(context: schemathesis.HookContext, path_parameters: Any) -> Any:
    """Ask a model that exists."""
    if path_parameters and "model" in path_parameters:
        return {**path_parameters, "model": MODEL}
    return path_parameters
