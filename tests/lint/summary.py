#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Add up meson's test logs. Usage: summary.py BUILD/meson-logs/testlog.json ...

A cmocka binary counts with each of its cases, any other test as one. Names what failed and what
was skipped (and why), then prints the closing line `N passed, N failed, N skipped`.
"""
import json
import re
import sys

GOOD = {"OK", "EXPECTEDFAIL"}


def main():
    passed, failed, skipped = 0, [], []
    for path in sys.argv[1:]:
        label = path.split("/meson-logs")[0].rsplit("/", 1)[-1]
        with open(path, encoding="utf-8") as log:
            for line in log:
                test = json.loads(line)
                out = test.get("stdout", "") + test.get("stderr", "")
                name = f"{label}: {test['name']}"
                ok = set(re.findall(r"^\[\s+OK \] (\S+)", out, re.M))
                bad = sorted(set(re.findall(r"^\[\s+FAILED\s+\] (\w*test_\w+)", out, re.M)))
                skip = sorted(set(re.findall(r"^\[\s+SKIPPED\s*\] (\w*test_\w+)", out, re.M)))
                why = re.findall(r"^SKIP: (.*)$", out, re.M)
                if test["result"] == "SKIP":
                    skipped.append(f"{name}: {why[0] if why else 'skipped'}")
                elif test["result"] in GOOD:
                    passed += max(len(ok), 0 if skip else 1)
                    skipped += [f"{name}: {s}{': ' + why[0] if why else ''}" for s in skip]
                else:
                    passed += len(ok)
                    failed += [f"{name}: {b}" for b in bad] or [f"{name}: {test['result']}"]
    for what, names in (("skipped", skipped), ("FAILED", failed)):
        for name in names:
            print(f"{what}: {name}")
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
