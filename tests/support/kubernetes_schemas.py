"""Schemas of custom resources that no package has, after their definitions.

Written down from the definitions of Knative Serving (config/core/300-resources/service.yaml at
95fb1110), of KEDA (config/crd/bases/keda.sh_scaledobjects.yaml at 756b2de7, and the specification
of 2.22) and of its HTTP add-on (config/crd/bases/http.keda.sh_interceptorroutes.yaml at 047f5b85):
the fields that may be there, without those that a feature flag has to open. The values of a pod's
fields are for Kubernetes' own schema to judge.
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

POLICIES = {
    "type": "array",
    "items": fields(
        required=("type", "value", "periodSeconds"),
        type={"enum": ["Pods", "Percent"]}, value=NUMBER, periodSeconds=NUMBER,
    ),
}  # fmt: skip
RULES = fields(
    policies=POLICIES,
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    stabilizationWindowSeconds=NUMBER,
)
TRIGGER = fields(
    "authenticationRef", "useCachedMetrics",
    required=("type", "metadata"),
    type=TEXT,
    name=TEXT,
    metricType={"enum": ["AverageValue", "Value", "Utilization"]},
)  # fmt: skip
EXTERNAL = fields(
    required=("scalerAddress", "interceptorRoute"), scalerAddress=TEXT, interceptorRoute=TEXT
)
DECIMAL = {"type": "string", "pattern": r"^\d+(\.\d+)?$"}
PROMETHEUS = fields(
    "authModes", "customHeaders", "ignoreNullValues", "namespace", "queryParameters", "timeout",
    "unsafeSsl",
    required=("serverAddress", "query", "threshold"),
    serverAddress={"type": "string", "pattern": "^https?://"},
    query=TEXT,
    threshold=DECIMAL,
    activationThreshold=DECIMAL,
)  # fmt: skip


def trigger(kind: str, metadata: Schema) -> Schema:
    """Return the schema of a trigger of a kind."""
    properties = TRIGGER["properties"] | {"type": {"const": kind}, "metadata": metadata}
    return TRIGGER | {"properties": properties}


TRIGGERS = [trigger("external-push", EXTERNAL), trigger("prometheus", PROMETHEUS)]
SCALED_OBJECT = resource(
    "keda.sh/v1alpha1",
    "ScaledObject",
    fields(
        "fallback",
        required=("scaleTargetRef", "triggers"),
        advanced=fields(
            "restoreToOriginalReplicaCount", "scalingModifiers",
            horizontalPodAutoscalerConfig=fields(
                "name", behavior=fields(scaleUp=RULES, scaleDown=RULES)
            ),
        ),
        cooldownPeriod=NUMBER,
        idleReplicaCount=NUMBER,
        initialCooldownPeriod=NUMBER,
        maxReplicaCount=NUMBER,
        minReplicaCount=NUMBER,
        pollingInterval=NUMBER,
        scaleTargetRef=fields(
            "apiVersion", "envSourceContainerName", "kind", required=("name",), name=TEXT
        ),
        triggers={"type": "array", "minItems": 1, "items": {"oneOf": TRIGGERS}},
    ),
)  # fmt: skip

PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
DURATION: Schema = {"type": "string", "pattern": r"^\d+(ms|s|m|h)$"}
TARGET = fields(required=("service",), service=TEXT, port=PORT, portName=TEXT) | {
    "oneOf": [{"required": ["port"]}, {"required": ["portName"]}]
}
INTERCEPTOR_ROUTE = resource(
    "http.keda.sh/v1beta1",
    "InterceptorRoute",
    fields(
        "coldStart",
        required=("target", "scalingMetric"),
        proxyMode={"enum": ["Service", "Endpoint"]},
        rules={
            "type": "array",
            "items": fields("headers", "paths", hosts={"type": "array", "items": TEXT}),
        },
        scalingMetric=fields("requestRate", concurrency=fields(targetValue=NUMBER)),
        target=TARGET,
        timeouts=fields(readiness=DURATION, request=DURATION, responseHeader=DURATION),
    ),
)

CUSTOM = {
    ("serving.knative.dev/v1", "Service"): KNATIVE_SERVICE,
    ("keda.sh/v1alpha1", "ScaledObject"): SCALED_OBJECT,
    ("http.keda.sh/v1beta1", "InterceptorRoute"): INTERCEPTOR_ROUTE,
}
"""The schemas, by version and kind."""
