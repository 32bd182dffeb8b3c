"""connexion, imported without its other web framework, and one function for each operation.

connexion loads aiohttp, which nothing here uses, wherever it is installed; and it always is,
because connexion requires it. That costs 0.1 s of every start and 10 MB, so it is hidden for the
time of the import, which connexion is prepared for.
"""

from __future__ import annotations

from typing import Any

import flask
from flask.typing import ResponseReturnValue

from darknet.hidden_imports import hidden
from yolo_service.http.validation import Arguments

__all__ = ["Api", "FlaskApp"]


with hidden("aiohttp"):
    from connexion import FlaskApi, FlaskApp
    from connexion.apis.flask_utils import flaskify_endpoint, flaskify_path
    from connexion.lifecycle import ConnexionRequest


class Api(FlaskApi):  # type: ignore[misc]  # connexion has no types
    """connexion's routes: security first, then the request as the handler's arguments.

    connexion's own way there leads through six decorators and five copies of the parameters, a
    seventh of the time that a request spends on the loop; and it reads a body before it asks
    whether the client may send one.
    """

    def _add_operation_internal(self, method: str, path: str, operation: Any) -> None:
        """Route to the handler that an operation of the contract names."""
        handler = self.resolver.resolve(operation).function
        arguments = Arguments(operation, handler)

        def answer(request: ConnexionRequest) -> ResponseReturnValue:
            sent: flask.Request = flask.request._get_current_object()  # type: ignore[attr-defined]
            returned: ResponseReturnValue = handler(**request.path_params, **arguments.read(sent))
            return returned

        secured = operation.security_decorator(answer)

        def view(**path_params: str) -> ResponseReturnValue:
            request = ConnexionRequest(path, method, path_params=path_params)
            # All that the contract's security schemes look at; given above, it would be counted.
            request.headers = flask.request.headers
            returned: ResponseReturnValue = secured(request)
            return returned

        rule = flaskify_path(path, operation.get_path_parameter_types())
        self.blueprint.add_url_rule(
            rule, flaskify_endpoint(operation.operation_id), view, methods=[method]
        )
