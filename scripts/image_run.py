"""Runs an image from its unpacked root file system the strict way, without a container engine.

    python3 scripts/image_run.py ROOT [NAME=VALUE ...] < inspected.json

The process gets the image's environment, folder, entry point and command; it is PID 1 of its own
process namespace, runs as user 12345 of group 0, and can write nowhere. The network is the
machine's. Needs root and util-linux. The exit code is the process's.
"""

from __future__ import annotations

import json
import os
import sys

USER = "12345:0"
SETUP = """
set -e
user=$1 root=$2 folder=$3
shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero urandom; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mount -o remount,bind,ro "$root"
exec chroot --userspec="$user" --groups=0 "$root" /usr/bin/env --ignore-environment \
    --chdir="$folder" "$@"
"""


def main(root: str, *extra: str) -> None:
    """Become the process of the image that ``buildah inspect`` described on standard input."""
    config = json.load(sys.stdin)["Docker"]["config"]
    command = [*config["Entrypoint"], *config["Cmd"]]
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SETUP, "sh"]
    place = [USER, root, config["WorkingDir"]]
    os.execvp("unshare", [*unshare, *place, *config["Env"], *extra, *command])


if __name__ == "__main__":
    main(*sys.argv[1:])
