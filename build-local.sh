#!/usr/bin/env bash
# Builds the images on this machine with docker buildx, podman or buildah.
#
#   ./build-local.sh                     every tag
#   ./build-local.sh cpu                 every model of one variant
#   ./build-local.sh cpu yolov3_coco     one tag
#   ./build-local.sh --list [...]        print the tags instead
#   ./build-local.sh --dry-run [...]     print the commands instead
#   ./build-local.sh --push REPO [...]   tag as REPO:TAG, and push
#
# Environment:
#   BUILD_TOOL          docker, podman or buildah; default: the first that is installed
#   BUILD_OPTIONS       more options for the build, such as "--no-cache" or "--volume A:B:ro"
#   BUILD_PLATFORMS     such as linux/amd64,linux/arm64 (docker with --push only)
#   DARKNET             commit of AlexeyAB/darknet, or "debian"; default: see the Dockerfile
#   CUDA_BASE           image with nvcc and cuDNN that compiles libdarknet for the CUDA variants
#   YOLO_MODELS_MIRROR  URL to pull the models from instead of their publishers
set -euo pipefail
cd "$(dirname "$0")"

variants=(cpu cuda cuda_tc)
models=(blood-cells yolov3_coco yolov3_openimages yolo9000 yolov4_coco yolov4_tiny_coco
    yolov7_tiny_coco)
cuda_base=${CUDA_BASE:-nvidia/cuda:13.0.1-cudnn-devel-ubuntu22.04}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
repository=yolo-service
action=build push=

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit "${1:-2}"
}

fail() {
    printf 'build-local.sh: %s\n' "$*" >&2
    exit 2
}

# The tag of a variant and a model: VERSION-MODEL, VERSION_cuda-MODEL, VERSION_cuda_tc-MODEL.
tag() {
    local suffix=_$1
    [ "$1" = cpu ] && suffix=
    printf '%s%s-%s' "$version" "$suffix" "$2"
}

find_tool() {
    local tool
    for tool in docker podman buildah; do
        if command -v "$tool" >/dev/null && "$tool" info >/dev/null 2>&1; then
            echo "$tool"
            return
        fi
    done
    fail "found none of docker, podman and buildah that works; install one"
}

run() {
    printf '+ %s\n' "$*"
    [ "$action" = dry-run ] || "$@"
}

# Runs the build tool with the common options, and with its own to make one layer per instruction.
build() {
    local variant=$1 model=$2 name=$repository:$3 command=() options=()
    options=(--build-arg "VARIANT=$variant" --build-arg "MODEL=$model"
        --build-arg "VERSION=$version")
    [ "$variant" = cpu ] || options+=(--build-arg "LIBDARKNET_BASE=$cuda_base")
    [ -z "${DARKNET:-}" ] || options+=(--build-arg "DARKNET=$DARKNET")
    [ -z "${YOLO_MODELS_MIRROR:-}" ] ||
        options+=(--build-arg "YOLO_MODELS_MIRROR=$YOLO_MODELS_MIRROR")
    # shellcheck disable=SC2206 # several options
    options+=(${BUILD_OPTIONS:-})
    case $tool in
        docker) command=(docker buildx build) ;;
        podman) command=(podman build --format docker --skip-unused-stages=false) ;;
        buildah) command=(buildah bud --layers --format docker --skip-unused-stages=false) ;;
        *) fail "BUILD_TOOL=$tool: expected docker, podman or buildah" ;;
    esac
    if [ "$tool" = docker ] && [ -n "$push" ]; then
        options+=(--push --sbom=true --provenance=mode=max)
        [ -z "${BUILD_PLATFORMS:-}" ] || options+=(--platform "$BUILD_PLATFORMS")
    elif [ "$tool" = docker ]; then
        options+=(--load)
    fi
    run "${command[@]}" "${options[@]}" --tag "$name" .
    [ -z "$push" ] || [ "$tool" = docker ] || run "$tool" push "$name"
}

while [ $# -gt 0 ]; do
    case $1 in
        --list) action=list ;;
        --dry-run) action=dry-run ;;
        --push) [ $# -ge 2 ] || usage; repository=$2 push=yes; shift ;;
        -h | --help) usage 0 ;;
        -*) fail "unknown option $1; see --help" ;;
        *) break ;;
    esac
    shift
done

[ $# -le 2 ] || usage
[ $# -lt 1 ] || [[ " ${variants[*]} " == *" $1 "* ]] || fail "variant $1: expected ${variants[*]}"
[ $# -lt 2 ] || [ -d "models/$2" ] || fail "no folder models/$2"
[ $# -lt 1 ] || variants=("$1")
[ $# -lt 2 ] || models=("$2")
[ "$action" = list ] || tool=${BUILD_TOOL:-$(find_tool)}

for variant in "${variants[@]}"; do
    for model in "${models[@]}"; do
        name=$(tag "$variant" "$model")
        if [ "$action" = list ]; then echo "$name"; else build "$variant" "$model" "$name"; fi
    done
done
