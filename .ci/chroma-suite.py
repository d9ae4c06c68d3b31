"""Summarises a JUnit report of Chroma's suite, and compares it with a list of tests that must pass."""

import collections
import sys
import xml.etree.ElementTree as xml

report, baseline = sys.argv[1:3]
outcomes = {}
for case in xml.parse(report).iter("testcase"):
    name = case.get("classname").split("chromadb.test.")[-1] + "::" + case.get("name")
    kinds = {child.tag for child in case}
    outcomes[name] = next((kind for kind in ("error", "failure", "skipped") if kind in kinds), "passed")
counts = collections.Counter(outcomes.values())
print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
if not baseline:
    sys.exit(0 if not counts["failure"] + counts["error"] else 1)
expected = {line.strip() for line in open(baseline) if line.strip()}
run = expected & outcomes.keys()
missed = sorted(name for name in run if outcomes[name] != "passed")
more = sum(kind == "passed" for name, kind in outcomes.items() if name not in expected)
print(f"{len(run) - len(missed)} of {len(run)} tests of the baseline that were run pass, {more} others pass")
for name in missed:
    print(f"  {outcomes[name]}: {name}")
sys.exit(1 if missed or not run else 0)
