# syntax=docker/dockerfile:1
# The image of yolo-service. build-local.sh lists the variants and models; see docs/images.md.
#
#   docker build -t yolo-service .
#   docker build -t yolo-service --build-arg MODEL=yolov4_coco .
#   docker build -t yolo-service --build-arg EXTRAS=yes .      with redis, video and parquet

ARG BASE=debian:bookworm-slim
# The image that compiles libdarknet: for the CUDA variants one with nvcc and cuDNN.
ARG LIBDARKNET_BASE=debian:bookworm-slim
# cpu, cuda (fp32) or cuda_tc (fp16 on tensor cores)
ARG VARIANT=cpu


FROM ${LIBDARKNET_BASE} AS libdarknet
ARG VARIANT
# A commit of AlexeyAB/darknet, or "debian" for the source package of pjreddie's.
ARG DARKNET=9d40b619756be9521bc2ccd81808f502daaa3e9a
COPY scripts/build-libdarknet /usr/local/bin/
RUN build-libdarknet "$DARKNET" "$VARIANT" /libdarknet.so


FROM ${BASE} AS python
# Debian's packages are not pinned: they get the security updates of the day of the build.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
# Anything: also what "detect" needs for Redis, videos and Parquet, 280 MB.
ARG EXTRAS=
COPY requirements.txt requirements-build.txt requirements-sources.txt ./
RUN python3 -m venv /opt/venv \
    && pip install --require-hashes -r "requirements${EXTRAS:+-sources}.txt" \
    && pip install --require-hashes --target /tmp/build -r requirements-build.txt
COPY pyproject.toml LICENSE scripts/prune-venv ./
# The sources stay in /app; this makes the command and the package's metadata, for which the two
# files need no contents.
RUN touch README.md swagger.yaml \
    && PYTHONPATH=/tmp/build pip install --no-deps --no-build-isolation -e . \
    && pip uninstall -y setuptools pip \
    && rm -r /opt/venv/lib/python3*/site-packages/yolo_service \
    && ./prune-venv /opt/venv


FROM python AS cuda
ARG VARIANT
COPY requirements-cuda.txt ./
RUN mkdir /opt/cuda \
    && if [ "$VARIANT" != cpu ]; then \
        python3 -m venv /tmp/pip \
        && /tmp/pip/bin/pip install --require-hashes --no-deps --target /opt/cuda \
            -r requirements-cuda.txt; \
    fi


FROM python AS web
# What the page needs to compute in browsers: from the checkout, if make has installed this version.
COPY package.json package-lock.json .npmrc requirements-node.txt ./
COPY scripts/web-runtime scripts/
COPY yolo_service/web yolo_service/web
RUN python3 -m venv /tmp/node && scripts/web-runtime /tmp/node/bin


FROM python AS app
COPY app.py swagger.yaml LICENSE ./
COPY darknet darknet
COPY yolo_service yolo_service
COPY --from=web /app/yolo_service/web/runtime yolo_service/web/runtime
COPY models models
# Only the catalog of the models; the model of this image gets a layer of its own.
RUN rm -rf ./*.egg-info prune-venv requirements*.txt pyproject.toml README.md \
    && find models -type f ! -name model.yaml -delete \
    && python3 -m compileall -q app.py darknet yolo_service


FROM app AS model
ARG MODEL=blood-cells
ARG YOLO_MODELS_MIRROR=
COPY models/${MODEL} /models/${MODEL}
RUN yolo-service models pull "$MODEL" --models-dir /models \
    && yolo-service models check "/models/$MODEL" \
    && chmod -R u=rwX,g=u,o=rX /models


FROM ${BASE} AS runtime
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libgomp1 python3 tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/*.log \
        /var/log/apt \
    && useradd --uid 10001 --gid 0 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin yolo
COPY --from=python /opt/venv /opt/venv
COPY --from=app /app /app
COPY --from=libdarknet /libdarknet.so /usr/local/lib/libdarknet.so
COPY --from=cuda /opt/cuda /opt/cuda
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    YOLO_HOST=0.0.0.0 \
    YOLO_LIBDARKNET=/usr/local/lib/libdarknet.so \
    YOLO_MODELS_DIR=/models
WORKDIR /app
EXPOSE 8080
# Group 0 owns the models, so that a pull into a volume works for any user id.
USER 10001:0
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-m", "yolo_service.http.healthcheck"]
# tini handles signals at once; Python as PID 1 would ignore them while it still imports.
ENTRYPOINT ["tini", "--", "yolo-service"]
CMD ["serve"]


FROM runtime AS image-cpu


FROM runtime AS image-cuda
# The first two are for the NVIDIA container toolkit. A missing GPU is an error at start.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONPATH=/opt/cuda \
    LD_LIBRARY_PATH=/opt/cuda/nvidia/cu13/lib:/opt/cuda/nvidia/cudnn/lib \
    YOLO_DEVICE=cuda


FROM image-cuda AS image-cuda_tc
ENV YOLO_PRECISION=fast


# hadolint ignore=DL3006
FROM image-${VARIANT}
ARG MODEL=blood-cells
ARG VARIANT
ARG VERSION=dev
LABEL org.opencontainers.image.title="yolo-service" \
    org.opencontainers.image.description="Darknet model $MODEL served over HTTP ($VARIANT)" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.licenses="MIT" \
    yolo-service.model="$MODEL" \
    yolo-service.variant="$VARIANT"
COPY --from=model --chown=10001:0 /models /models
