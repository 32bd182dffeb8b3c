"""connexion's routes with one function for each operation of the contract."""

from __future__ import annotations

from typing import Any

import flask
from connexion import FlaskApi, FlaskApp
from connexion.apis.flask_utils import flaskify_endpoint, flaskify_path
from connexion.lifecycle import ConnexionRequest
from connexion.resolver import Resolver
from flask.typing import ResponseReturnValue

from yolo_service import metrics
from yolo_service.api.operations import Handler
from yolo_service.http.validation import Arguments

__all__ = ["Api", "FlaskApp", "Resolver"]


class Api(FlaskApi):  # type: ignore[misc]  # connexion has no types
    """connexion's routes: security first, then the request as the handler's arguments.

    connexion's own routes wrap each handler in six decorators and copy the parameters five times, a
    seventh of the time that a request spends on the loop; and they read a body before they check
    whether the client is authorized.
    """

    def _add_operation_internal(self, method: str, path: str, operation: Any) -> None:
        """Route to the handler of an operation of the contract."""
        handler: Handler = self.resolver.resolve(operation).function
        arguments = Arguments(operation, handler)

        def answer(request: ConnexionRequest) -> ResponseReturnValue:
            sent: flask.Request = flask.request._get_current_object()  # type: ignore[attr-defined]
            return handler(**request.path_params, **arguments.read(sent))

        secured: Handler = operation.security_decorator(answer)

        def view(**path_params: str) -> ResponseReturnValue:
            request = ConnexionRequest(path, method, path_params=path_params)
            # What the security schemes need; the constructor would count them (``headers or {}``).
            request.headers = flask.request.headers
            return secured(request)

        rule = flaskify_path(path, operation.get_path_parameter_types())
        statuses = {500, *map(int, operation.responses)}
        metrics.expect_requests(method.upper(), rule, statuses)
        self.blueprint.add_url_rule(
            rule, flaskify_endpoint(operation.operation_id), view, methods=[method]
        )
