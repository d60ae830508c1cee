"""Answers every request of a .jsonl file anew with the stock policy evaluator.

    git clone https://github.com/QubesOS/qubes-core-qrexec && git -C qubes-core-qrexec checkout b2822df   # 4.4.2
    PYTHONPATH=qubes-core-qrexec python3 record.py < old.jsonl > new.jsonl
"""

import asyncio
import json
import logging
import pathlib
import sys
import tempfile

from qrexec.exc import AccessDenied, PolicySyntaxError
from qrexec.policy import parser

logging.disable(logging.CRITICAL)
OPTIONS = ("user", "autostart")


def full_system(system):
    """qrexec wants every domain under its name and under its UUID."""
    domains = {}
    for name, domain in system["domains"].items():
        domains[name] = domains["uuid:" + domain["uuid"]] = dict(domain, name=name)
    return {"domains": domains}


def answer(directory, request, system):
    def options(resolution):
        place = f"{resolution.rule.filepath.relative_to(directory)}:{resolution.rule.lineno}"
        return {key: getattr(resolution, key) for key in OPTIONS} | {"rule": place}

    try:
        policy = parser.FilePolicy(policy_path=directory)
        resolution = policy.evaluate(
            parser.Request(request["service"], request["arg"], request["source"], request["target"], system_info=system)
        )
        if isinstance(resolution, parser.AllowResolution):
            wire = asyncio.run(resolution.execute())
            return {
                "result": "allow", "target": str(resolution.target), "notify": resolution.notify,
                "wire": wire, **options(resolution),
            }
        preferred = resolution.default_target
        return {
            "result": "ask", "targets": sorted(map(str, resolution.targets_for_ask)),
            "default_target": None if preferred is None else str(preferred), **options(resolution),
        }
    except PolicySyntaxError as error:
        return {"result": "deny", "invalid": True, "why": str(error).replace(f"{directory}/", "")}
    except AccessDenied as error:
        return {"result": "deny", "why": str(error).replace(f"{directory}/", ""), "notify": error.notify}
    except Exception as error:  # what its callers take for a denial
        return {"result": "crash", "why": repr(error)}


first, *rest = map(json.loads, sys.stdin)
print(json.dumps(first))
for entry in rest:
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory).resolve()
        for path, text in entry["files"].items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        for case in entry["cases"]:
            case["answer"] = answer(root, case["request"], full_system(first["system"]))
    print(json.dumps(entry))
