"""connexion, imported without its other web framework, and handed what is used of a request.

connexion loads aiohttp, which nothing here uses, wherever it is installed; and it always is,
because connexion requires it. That costs 0.1 s of every start and 10 MB, so it is hidden for the
time of the import, which connexion is prepared for.
"""

from __future__ import annotations

from typing import Any

import flask

from darknet.hiding import hidden

__all__ = ["Api", "ConnexionRequest", "FlaskApp", "ParameterValidator", "RequestBodyValidator"]


with hidden("aiohttp"):
    from connexion import FlaskApi, FlaskApp
    from connexion.decorators.validation import ParameterValidator, RequestBodyValidator
    from connexion.lifecycle import ConnexionRequest


class Api(FlaskApi):  # type: ignore[misc]  # connexion has no types
    """connexion's routes, which hand on what is used of a request, and no more.

    What else connexion prepares for every request, its whole URL, its cookies and its body, takes
    a twelfth of the time that a request spends on the loop, and nothing here asks. JSON is read on
    another thread (``api/documents.py``).
    """

    @classmethod
    def get_request(cls, *_: Any, **params: Any) -> ConnexionRequest:
        """Return the request that is being handled, for connexion's decorators."""
        request: flask.Request = flask.request._get_current_object()  # type: ignore[attr-defined]
        return ConnexionRequest(
            request.path,
            request.method,
            path_params=params,
            query=request.args,
            headers=request.headers,
            form=request.form,
            json_getter=lambda: None,
            files=request.files,
        )

    @classmethod
    def get_response(
        cls, response: Any, mimetype: str | None = None, _: ConnexionRequest | None = None
    ) -> flask.Response:
        """Return what a handler returned as Flask's response; handlers here return just that."""
        if isinstance(response, flask.Response):
            return response
        made: flask.Response = cls._get_response(response, mimetype=mimetype)
        return made
