"""The schema of KubeRay's RayService, which no package has.

Written down from the definitions of ray-operator/apis/ray/v1 at 026f1433, and ``authOptions`` from
the reference of version 1.6. The fields of a pod are for Kubernetes' own schema to judge.
"""

from __future__ import annotations

from tests.support.kubernetes_schemas import ANY, NUMBER, TEXT, TEXTS, Schema, fields, resource

_HEAD = fields(
    "headService", "template",
    required=("rayStartParams", "template"),
    enableIngress={"type": "boolean"},
    rayStartParams=TEXTS,
    serviceType=TEXT,
)  # fmt: skip
_WORKERS = fields(
    "scaleStrategy", "template",
    required=("groupName", "maxReplicas", "minReplicas", "rayStartParams", "template"),
    groupName=TEXT,
    maxReplicas=NUMBER,
    minReplicas=NUMBER,
    numOfHosts=NUMBER,
    rayStartParams=TEXTS,
    replicas=NUMBER,
)  # fmt: skip
_AUTOSCALER = fields(
    "env", "envFrom", "image", "imagePullPolicy", "resources", "securityContext", "volumeMounts",
    idleTimeoutSeconds=NUMBER,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
)  # fmt: skip
_CLUSTER = fields(
    required=("headGroupSpec",),
    authOptions=fields(mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    autoscalerOptions=_AUTOSCALER,
    enableInTreeAutoscaling={"type": "boolean"},
    headGroupSpec=_HEAD,
    headServiceAnnotations=TEXTS,
    rayVersion=TEXT,
    suspend={"type": "boolean"},
    workerGroupSpecs={"type": "array", "items": _WORKERS},
)
RAY_SERVICE: Schema = resource(
    "ray.io/v1",
    "RayService",
    fields("serveService", serveConfigV2=TEXT, rayClusterConfig=_CLUSTER, upgradeStrategy=ANY),
)
