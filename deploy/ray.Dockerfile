# An image of this service with Ray, for deploy/ray-service.yaml:
#
#   docker build -t yolo-service:0.1.0_ray-blood-cells -f deploy/ray.Dockerfile .
ARG IMAGE=yolo-service:0.1.0-blood-cells
# hadolint ignore=DL3006
FROM ${IMAGE}
# hadolint ignore=DL3002
USER 0
COPY requirements-ray.txt /tmp/
# KubeRay's probes need wget, and its shells may reset PATH.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv wget \
    && python3 -m venv /tmp/pip \
    && /tmp/pip/bin/pip --no-cache-dir --python /opt/venv/bin/python install \
        --require-hashes -r /tmp/requirements-ray.txt \
    && ln -s /opt/venv/bin/ray /opt/venv/bin/serve /usr/local/bin/ \
    && rm -rf /tmp/pip /tmp/requirements-ray.txt /var/lib/apt/lists/*
USER 10001:0
ENTRYPOINT ["tini", "--"]
CMD ["serve", "run", "yolo_service.cluster.serve:app"]
