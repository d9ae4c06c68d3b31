"""image_configuration.py PART: prints a part of an image's configuration, which `buildah inspect` has written to the standard
input: its `command`, `environment`, check of `health` (one word a line), or `user`."""

import json
import sys


def main(part):
    config = json.load(sys.stdin)["Docker"]["config"]
    words = {
        "command": config["Entrypoint"] + config["Cmd"],
        "environment": config["Env"],
        "health": config.get("Healthcheck", {}).get("Test", [])[1:],
        "user": [config["User"]],
    }
    print("\n".join(words[part]))


if __name__ == "__main__":
    main(*sys.argv[1:])
