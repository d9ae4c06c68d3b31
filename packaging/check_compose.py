"""check_compose.py COMPOSE [ADDED]: checks that what a compose file names is there, which no schema can say.

With ADDED, the file that Compose makes of both.
"""

import sys

import yaml


def merged(one, other):
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: merged(one.get(key, value), other.get(key, value)) for key, value in {**one, **other}.items()}
    # What Compose lists together.
    if isinstance(one, list) and isinstance(other, list) and one is not other:
        return one + other
    return other


def main(compose_path, *added_paths):
    compose = {}
    for path in (compose_path, *added_paths):
        with open(path, encoding="utf-8") as file:
            compose = merged(compose, yaml.safe_load(file))
    compose_path = " ".join((compose_path, *added_paths))
    problems = []
    services = compose["services"]
    for name, service in services.items():
        for other, condition in service.get("depends_on", {}).items():
            if other not in services:
                problems.append(f"{name} depends on {other}, which is no service")
            elif condition["condition"] == "service_completed_successfully" and services[other].get("restart", "no") != "no":
                problems.append(f"{name} waits for {other} to end, which is started again")
            elif condition["condition"] == "service_healthy" and "healthcheck" not in services[other]:
                problems.append(f"{name} waits for {other} to be healthy, which has no health check")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source not in compose["volumes"]:
                problems.append(f"{name} mounts {source}, which is no volume")
        for config in service.get("configs", []):
            if config["source"] not in compose["configs"]:
                problems.append(f"{name} needs {config['source']}, which is no config")
    for problem in problems:
        print(f"error: {compose_path}: {problem}", file=sys.stderr)
    if not problems:
        print(f"checked: {compose_path}: {len(services)} services")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
