#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Calls and habits that the house does not allow. Usage: banned.py [ROOT]."""
import pathlib
import re
import sys

# libraries: no unbounded copies, no process-wide state, no ending of somebody else's process
BANNED = re.compile(
    r"(?<![\w.>])(sprintf|vsprintf|strcpy|strcat|strtok|atoi|atol|atof|strtol|gets|rand|srand|"
    r"gmtime|localtime|ctime|asctime|exit|abort|system|popen|alloca|signal|setenv)\s*\("
)
# process.c sets up weftd's whole process, before any thread, on weftd's request only
PROGRAMS = ("server/app/", "server/cli/", "client/agent/", "examples/", "tests/", "common/rt/process.c")
PRINTS = re.compile(r"(?<![\w.>])(printf|puts|putchar|perror|fprintf)\s*\(")
SLEEPS = re.compile(r"(?<![\w.>])(sleep|usleep|nanosleep)\s*\(")
STRING = re.compile(r'"(\\.|[^"\\])*"')
COMMENT = re.compile(r"/\*.*?\*/", re.S)


def blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


def check(path, text):
    # strings and comments hold words, not calls
    if not text.startswith("/* SPDX-License-Identifier: Apache-2.0 */"):
        yield f"{path}:1: the SPDX line is missing"
    code = COMMENT.sub(blank, STRING.sub('""', text))
    program = path.startswith(PROGRAMS)
    for number, line in enumerate(code.splitlines(), 1):
        where = f"{path}:{number}"
        if re.search(r"(?<!:)//", line):
            yield f"{where}: // is for notes that must not be committed"
        found = BANNED.search(line)
        if found and not program:
            yield f"{where}: {found.group(1)} is banned in libraries"
        found = PRINTS.search(line)
        if found and not program:
            yield f"{where}: libraries never print ({found.group(1)})"
        found = SLEEPS.search(line)
        if found and path.startswith("tests/") and not path.startswith("tests/bench/"):
            yield f"{where}: tests do not sleep"
    lines = text.count("\n")
    if lines > (1200 if path.startswith("tests/") else 700):
        yield f"{path}: {lines} lines: one room, one job"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    assert list(check("common/x.c", "int f(void) { exit(1); }"))
    problems = []
    for path in sorted(root.glob("*/**/*.[ch]")):
        relative = path.relative_to(root).as_posix()
        if not relative.startswith("build"):
            problems += check(relative, path.read_text(errors="replace"))
    print("\n".join(problems) if problems else "banned: ok")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
