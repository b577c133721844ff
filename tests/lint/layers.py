#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may include whom: the table of README's section Architecture, checked on every #include.

Usage: layers.py [ROOT]. Prints each include that the table does not allow; exit status 1 then.
`layers.py --self-test` shows that a forbidden include is found.
"""
import pathlib
import re
import sys

# room (longest prefix wins) -> rooms whose headers it may include
L1 = {"base", "crypto", "model"}
L2 = L1 | {"ledger", "update", "secagg", "nn", "data", "weights"}
COMMON = L2 | {"wire", "rt"}
SERVER_LOW = {"core", "agg"}
SERVER = SERVER_LOW | {"store", "rpc", "eval", "auth", "config"}
ROOMS = {
    "common/base": {"base"},
    "common/crypto": {"base", "crypto"},
    "common/ledger": {"base", "crypto", "ledger"},
    "common/model": {"base", "model"},
    "common/update": L1 | {"update"},
    "common/secagg": L1 | {"update", "secagg"},
    "common/nn": L1 | {"nn", "data"},
    "common/data": L1 | {"data"},
    "common/weights": L1 | {"weights", "data"},
    "common/wire": L2 | {"wire", "weft/v1"},
    "common/rt": {"base", "rt"},
    "client/include": {"weft"},
    "client/src": COMMON | {"weft", "client"},
    "client/agent": {"weft", "agent", "base", "data", "model", "rt"},
    "server/core": L1 | {"update", "secagg", "core"},
    "server/agg": L1 | {"update", "secagg", "agg"},
    "server/store": COMMON - {"rt", "wire", "nn"} | {"core", "store"},
    "server/rpc": COMMON - {"nn"} | SERVER_LOW | {"rpc", "store", "auth"},
    "server/eval": COMMON - {"rt", "wire"} | {"core", "eval"},
    "server/auth": L1 | {"ledger", "core", "auth"},
    "server/config": L2 | {"core", "config"},
    "server/app": COMMON | SERVER | {"app"},
    "server/cli": COMMON | SERVER | {"cli"},
    "examples/simulate": COMMON | SERVER | {"simulate", "weft", "client"},
    "examples/quickstart": {"weft"},
    "examples/embed": {"weft"},
}
# third-party headers stay at home: pattern -> rooms
HOMES = {
    r"grpc/": {"common/rt"},
    r"sqlite3\.h": {"server/store", "client/src"},
    r"openssl/": {"common/crypto", "common/rt"},
    r"cblas\.h|openblas": {"common/nn"},
    r"zlib\.h": {"common/data"},
    r"zip\.h": {"common/weights"},
    r"jansson\.h": {"common/weights", "server/cli", "client/agent", "examples/simulate"},
    r"yaml\.h": {"server/config"},
    r".*\.pb-c\.h": {"common/wire"},
    r"protobuf-c": {"common/wire"},
}
# the functional core may not reach for the world
PURE = ("server/core", "server/agg", "common/ledger", "common/update", "common/secagg", "common/model", "common/wire")
IMPURE = re.compile(r"(time|stdio|pthread|unistd|fcntl|sys/.*)\.h$")
# snprintf lives in stdio.h; banned.py sees to it that nothing is printed
TEXT = {"common/ledger": ("stdio.h",), "common/model": ("stdio.h",), "common/wire": ("stdio.h",)}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def room_of(path):
    found = [r for r in ROOMS if path.startswith(r + "/")]
    return max(found, key=len) if found else None


def check(path, text):
    room = room_of(path)
    if room is None:
        return
    own = room.split("/", 1)[1]
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, header = match.groups()
        where = f"{path}:{number}: {room} includes {header}"
        for pattern, homes in HOMES.items():
            if re.match(pattern, header) and room not in homes:
                yield f"{where}: only {', '.join(sorted(homes))} may"
        if room in PURE and quote == "<" and IMPURE.match(header) and header not in TEXT.get(room, ()):
            yield f"{where}: a pure room has no clock, I/O or threads"
        if quote == '"':
            top = "weft/v1" if header.startswith("weft/v1/") else header.split("/", 1)[0]
            if "/" in header and top not in ROOMS[room]:
                yield f"{where}: the layer table does not allow {top}"
            if header.endswith("_priv.h") and "/" in header and top != own:
                yield f"{where}: private to its module"


def self_test():
    bad = [
        ("server/core/x.c", '#include "store/store.h"\n'),
        ("server/core/x.c", "#include <time.h>\n"),
        ("common/base/x.c", '#include "model/spec.h"\n'),
        ("server/rpc/x.c", "#include <sqlite3.h>\n"),
        ("server/app/x.c", '#include "core/core_priv.h"\n'),
        ("examples/embed/x.c", '#include "base/err.h"\n'),
    ]
    for path, text in bad:
        assert list(check(path, text)), (path, text)
    assert not list(check("server/app/x.c", '#include "core/core.h"\n#include <time.h>\n'))


def main():
    if "--self-test" in sys.argv:
        self_test()
        return 0
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    self_test()
    problems = []
    for path in sorted(root.glob("*/**/*.[ch]")):
        relative = path.relative_to(root).as_posix()
        if not relative.startswith("build"):
            problems += check(relative, path.read_text(errors="replace"))
    print("\n".join(problems) if problems else "layers: ok")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
