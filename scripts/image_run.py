"""Runs an image from its unpacked root file system the strict way, without a container engine.

    python3 scripts/image_run.py [--env NAME=VALUE] [--volume FOLDER:PATH] ROOT [COMMAND ...] \
        < inspected.json

The process gets the image's environment, folder and entry point, and COMMAND in place of the
image's command; it is PID 1 of its own process namespace, runs as user 12345 of group 0, and can
write nowhere. The volume is read-only. The network is the machine's. Needs root and util-linux. The
exit code is the process's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

USER = "12345:0"
SETUP = """
set -e
user=$1 root=$2 folder=$3 volume=$4
shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero urandom; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
if [ -n "$volume" ]; then
    mkdir -p "$root/${volume#*:}"
    mount --bind -o ro "${volume%%:*}" "$root/${volume#*:}"
fi
mount -o remount,bind,ro "$root"
exec chroot --userspec="$user" --groups=0 "$root" /usr/bin/env --ignore-environment \
    --chdir="$folder" "$@"
"""


def main() -> None:
    """Become the process of the image that ``buildah inspect`` described on standard input."""
    options = arguments()
    config = json.load(sys.stdin)["Docker"]["config"]
    command = [*config["Entrypoint"], *(options.command or config["Cmd"])]
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SETUP, "sh"]
    place = [USER, options.root, config["WorkingDir"], options.volume]
    os.execvp("unshare", [*unshare, *place, *config["Env"], *options.env, *command])


def arguments() -> argparse.Namespace:
    """Return what ``docker run`` would be told."""
    parser = argparse.ArgumentParser(description="Runs an unpacked image.")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--volume", default="", metavar="FOLDER:PATH")
    parser.add_argument("root")
    parser.add_argument("command", nargs="*")
    return parser.parse_args()


if __name__ == "__main__":
    main()
