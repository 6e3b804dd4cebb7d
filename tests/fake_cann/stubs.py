#!/usr/bin/env python3
"""Writes a C++ file with a stub for every CANN symbol that torch_npu links against and that the fakes do not implement.

Usage: stubs.py OUT.cc --need LIBRARY... --have LIBRARY...
--need: the libraries of torch_npu; --have: those whose symbols are not missing (the fakes, libtorch).
A stub prints its name and aborts.
"""

import glob
import subprocess
import sys

SYSTEM = ["libc", "libm", "libstdc++", "libgcc_s", "ld-linux*", "libdl", "libpthread", "librt"]


def symbols(path, undefined):
    nm = subprocess.run(["nm", "-D", "--undefined-only" if undefined else "--defined-only", path],
                        capture_output=True, text=True, check=True)
    rows = [line.split() for line in nm.stdout.splitlines() if line.strip()]
    return {row[-1].split("@")[0] for row in rows if not undefined or row[-2] == "U"}


def main():
    out, arguments = sys.argv[1], sys.argv[2:]
    cut = arguments.index("--have")
    needing, having = arguments[1:cut], arguments[cut + 1:]
    system = [path for name in SYSTEM for path in glob.glob(f"/lib/*-linux-gnu/{name}.so.*")]
    need = set().union(*(symbols(path, True) for path in needing))
    have = set().union(*(symbols(path, False) for path in needing + having + system))
    with open(out, "w", encoding="utf-8") as file:
        file.write("#include <cstdio>\n#include <cstdlib>\nextern \"C\" {\n")
        for name in sorted(need - have):
            if name.startswith(("Py", "_Py")):  # of libpython, which is real
                continue
            # The profiler's hooks are called when torch_npu is loaded; 0 is fine.
            body = "return 0;" if name.startswith("Msprof") else \
                f'std::fprintf(stderr, "[fake CANN] {name} is not implemented\\n"); std::abort();'
            file.write(f"long {name}() {{ {body} }}\n")
        file.write("}\n")


if __name__ == "__main__":
    main()
