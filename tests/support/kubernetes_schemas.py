"""Schemas of custom resources that no package has, after their definitions.

Written down from the definitions of Knative Serving (config/core/300-resources/service.yaml at
95fb1110) and of KEDA's HTTP add-on (config/crd/bases/http.keda.sh_httpscaledobjects.yaml at
4f5b51de): the fields that may be there, without those that a feature flag has to open. The values
of a pod's fields are for Kubernetes' own schema to judge.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
ANY: Schema = {}
NUMBER: Schema = {"type": "integer", "minimum": 0}
TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}


def fields(*names: str, required: tuple[str, ...] = (), **known: Schema) -> Schema:
    """Return the schema of an object that has these fields and no others."""
    return {
        "type": "object",
        "properties": dict.fromkeys(names, ANY) | known,
        "required": list(required),
        "additionalProperties": False,
    }


def resource(version: str, kind: str, spec: Schema) -> Schema:
    """Return the schema of a resource with a specification."""
    metadata = fields(name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
    parts = {"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": metadata}
    return fields(required=(*parts, "spec"), spec=spec, **parts)


PROBE = fields(
    "exec", "grpc", "httpGet", "tcpSocket", failureThreshold=NUMBER, initialDelaySeconds=NUMBER,
    periodSeconds=NUMBER, successThreshold=NUMBER, timeoutSeconds=NUMBER,
)  # fmt: skip
CONTAINER = fields(
    "args", "command", "env", "envFrom", "image", "imagePullPolicy", "name",
    "terminationMessagePath", "terminationMessagePolicy", "volumeMounts", "workingDir",
    livenessProbe=PROBE,
    readinessProbe=PROBE,
    startupProbe=PROBE,
    ports={"type": "array", "maxItems": 1, "items": fields("name", "containerPort", "protocol")},
    resources=fields("limits", "requests"),
    securityContext=fields(
        "allowPrivilegeEscalation", "privileged", "readOnlyRootFilesystem", "runAsGroup",
        "runAsNonRoot", "runAsUser", "seccompProfile", capabilities=fields("drop"),
    ),
)  # fmt: skip
REVISION = fields(
    "enableServiceLinks", "imagePullSecrets", "serviceAccountName", "volumes",
    required=("containers",),
    containers={"type": "array", "items": CONTAINER},
    containerConcurrency=NUMBER,
    idleTimeoutSeconds=NUMBER,
    responseStartTimeoutSeconds=NUMBER,
    timeoutSeconds=NUMBER,
)  # fmt: skip
TEMPLATE = fields(metadata=fields(name=TEXT, labels=TEXTS, annotations=TEXTS), spec=REVISION)
KNATIVE_SERVICE = resource(
    "serving.knative.dev/v1", "Service", fields("traffic", template=TEMPLATE)
)

HTTP_SCALED_OBJECT = resource(
    "http.keda.sh/v1alpha1",
    "HTTPScaledObject",
    fields(
        "coldStartTimeoutFailoverRef", "headers", "timeouts",
        required=("scaleTargetRef",),
        hosts={"type": "array", "items": TEXT},
        pathPrefixes={"type": "array", "items": TEXT},
        initialCooldownPeriod=NUMBER,
        scaledownPeriod=NUMBER,
        replicas=fields(min=NUMBER, max=NUMBER),
        scaleTargetRef=fields(
            required=("service",),
            apiVersion=TEXT, kind=TEXT, name=TEXT, service=TEXT, portName=TEXT, port=NUMBER,
        ),
        scalingMetric=fields("requestRate", concurrency=fields(targetValue=NUMBER)),
    ),
)  # fmt: skip
