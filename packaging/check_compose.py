"""check_compose.py COMPOSE: checks that what a compose file names is there, which no schema can say."""

import sys

import yaml


def main(compose_path):
    with open(compose_path, encoding="utf-8") as file:
        compose = yaml.safe_load(file)
    problems = []
    services = compose["services"]
    for name, service in services.items():
        for other, condition in service.get("depends_on", {}).items():
            if other not in services:
                problems.append(f"{name} depends on {other}, which is no service")
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
