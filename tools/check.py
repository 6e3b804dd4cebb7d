#!/usr/bin/env python3
"""The architecture's guard: reads every source file and document and prints each broken rule as `path:line: what`.

Usage: tools/check.py [ROOT]. Exit status 1 when a rule is broken. The rules are DESIGN's layers and include discipline,
the size and the form of files, and links that lead somewhere. docs/architecture.md says why each rule is there.
"""

import os
import re
import subprocess
import sys

# Lowest first. A folder of src/ sees itself and the rows above its own; folders in one row do not see each other.
LAYERS = [["base"], ["text", "image", "kv"], ["tensor"], ["device"], ["comm"], ["ops"], ["nn"],
          ["llm", "diffusion"], ["models"], ["serve"], ["app"]]
RANK = {folder: rank for rank, row in enumerate(LAYERS) for folder in row}
TORCH_FREE = {"base", "text", "image", "kv"}  # and llm/plan
DEVICES = {"cpu", "cuda", "npu"}  # folders of src/ops that may ask the preprocessor

CODE = (".cc", ".h", ".cu", ".cuh")
SOURCE = CODE + (".py", ".sh", ".cmake")
SOURCE_ROOTS = ("src", "tests", "bench", "tools", "examples", "cmake")
TEXT = SOURCE + (".md", ".txt", ".json", ".yaml", ".yml", ".test")
TEST_ONLY = {"golden", "specs", "fuzz", "tools", "fake_cann", "ops_conformance"}  # folders of tests/ that mirror nothing in src/
MOST_LINES, MOST_COLUMNS = 400, 120

NEVER = {"torch/torch.h": "15 s of compiling a unit", "ATen/ATen.h": "7 s of compiling a unit",
         "regex": "slow, and overflows the stack on long input"}
ONE_UNIT = {"boost/beast": "Boost.Beast", "CLI/": "CLI11", "spdlog/": "spdlog", "yaml-cpp/": "yaml-cpp"}

# Built from halves, so that this file and its test do not break their own rule.
UNFINISHED = re.compile(r"\b(" + "|".join(a + b for a, b in [("TO", "DO"), ("FIX", "ME"), ("X", "XX")]) + r")\b")
MACHINES = "|".join(["wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers"])
MACHINE_PATH = re.compile(rf"(?<![\w./~$}}-])/({MACHINES})/\w")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
CONDITION = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b")
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|<(?:img|a)\b[^>]*?(?:src|href)=\"([^\"]+)\"")


def files(root):
    """The paths that git tracks or would add, relative to root; every file where there is no git."""
    command = ["git", "-C", root, "ls-files", "-z", "-co", "--exclude-standard"]
    git = subprocess.run(command, capture_output=True, text=True)
    if git.returncode == 0:
        return sorted(p for p in git.stdout.split("\0") if p and os.path.isfile(os.path.join(root, p)))
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if f not in (".git", "build", "__pycache__")]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(found)


def is_script(path, text):
    return "." not in os.path.basename(path) and text.startswith("#!")


def may_include_torch(parts, name):
    """Whether the file src/<parts> may include libtorch's header `name` itself."""
    folder, source = parts[0], parts[-1].endswith((".cc", ".cu"))
    if "c10d" in name:
        return parts == ["comm", "c10d.cc"]
    if name.startswith("ATen/ops/"):
        return source and folder in ("ops", "tensor")
    return folder == "tensor" or (source and folder in ("ops", "device")) or parts == ["comm", "c10d.cc"]


def layer_faults(parts, name):
    """What is wrong when the file src/<parts> includes our header `name`."""
    folder, target = parts[0], name.split("/")[0]
    if folder not in RANK:
        yield f"src/{folder} is no layer of DESIGN's order"
    elif target in RANK and target != folder and RANK[target] >= RANK[folder]:
        yield f"{folder} may not see {target}: it does not stand below {folder}"
    elif parts[:2] == ["llm", "plan"] and target not in TORCH_FREE and not name.startswith("llm/plan/"):
        yield f'llm/plan links no torch, so it may not include "{name}"'


def include_faults(path, lines, known, users):
    parts = path.split("/")
    ours = parts[0] == "src"
    header = path.endswith((".h", ".cuh"))
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, name = match.groups()
        if name in NEVER:
            yield number, f"<{name}> is never included: {NEVER[name]}"
        elif name == "iostream" and header:
            yield number, "<iostream> in a header: every unit would pay for its static constructor"
        elif quote == '"':
            here = os.path.normpath(os.path.join(os.path.dirname(path), name))
            if not {f"src/{name}", f"tests/{name}"} & known and (ours or here not in known):
                yield number, f'"{name}" is no file of src/; quotes are for our own headers, from the root of src/'
            for fault in layer_faults(parts[1:], name) if ours else []:
                yield number, fault
        elif ours and name.startswith(("ATen/", "c10/", "torch/")) and not may_include_torch(parts[1:], name):
            yield number, f'<{name}>: this folder sees torch only through "tensor/tensor.h"'
        elif ours and name.startswith("nlohmann/") and (header or parts[1] not in ("base", "serve", "text")):
            yield number, f'<{name}> only in .cc files of base, serve and text; elsewhere use "base/json.h"'
        for prefix, library in ONE_UNIT.items():
            if ours and name.startswith(prefix):
                users.setdefault(library, {}).setdefault(path, number)
                if header:
                    yield number, f"<{name}> in a header: {library} is slow to compile, one .cc includes it"


def condition_faults(path, lines):
    parts = path.split("/")
    if parts[:2] == ["src", "device"] or path == "src/tensor/compat.h":
        return
    if parts[:2] == ["src", "ops"] and len(parts) > 3 and parts[2] in DEVICES:
        return
    for number, line in enumerate(lines, 1):
        match = CONDITION.match(line)
        if match:
            yield number, f"#{match[1]} outside device/, ops/<device>/ and tensor/compat.h"


def form_faults(lines, columns):
    if len(lines) > MOST_LINES:
        yield len(lines), f"{len(lines)} lines: split what is over {MOST_LINES}"
    for number, line in enumerate(lines, 1):
        if columns and len(line) > columns:
            yield number, f"{len(line)} columns: break what is over {columns}"
        if "\t" in line or line != line.rstrip():
            yield number, "a tab, or blanks at the end of the line"


def word_faults(lines):
    for number, line in enumerate(lines, 1):
        match = UNFINISHED.search(line)
        if match:
            yield number, f"{match[0]}: finish it, or write it into docs/status.md as a sentence"
        match = MACHINE_PATH.search(line)
        if match:
            yield number, f"{match[0]}…: a path of one machine"


def anchors(text):
    """The names that GitHub gives to the headings of a Markdown text."""
    names = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#+\s+(.+?)\s*#*$", text, re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        serial = 0
        while name + (f"-{serial}" if serial else "") in names:
            serial += 1
        names.add(name + (f"-{serial}" if serial else ""))
    return names


def link_faults(root, path, lines):
    fenced = False
    for number, line in enumerate(lines, 1):
        fenced ^= line.lstrip().startswith("```")
        if fenced:
            continue
        for match in LINK.finditer(re.sub(r"`[^`]*`", "", line)):
            target = match[1] or match[2]
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            full = os.path.normpath(os.path.join(root, os.path.dirname(path) if file else path, file))
            if not os.path.exists(full):
                yield number, f"the link {target} leads nowhere"
            elif anchor and full.endswith(".md"):
                with open(full, encoding="utf-8") as f:
                    if anchor not in anchors(f.read()):
                        yield number, f"the link {target}: no such heading"


def mirror_faults(paths):
    sources = {os.path.dirname(p)[len("src/"):] for p in paths if p.startswith("src/")}
    sources |= {s.split("/")[0] for s in sources}
    for folder in sorted({os.path.dirname(p) for p in paths if p.startswith("tests/") and p.endswith(CODE)}):
        inner = folder[len("tests/"):]
        if inner and inner.split("/")[0] not in TEST_ONLY and inner not in sources:
            yield folder, 1, f"tests mirror src, and there is no src/{inner}"


def check(root):
    """Every broken rule under root, as (path, line, what)."""
    paths = files(root)
    known = set(paths)
    users = {}
    for path in paths:
        try:
            with open(os.path.join(root, path), encoding="utf-8") as f:
                text = f.read() if path.endswith(TEXT) or "." not in os.path.basename(path) else ""
        except UnicodeDecodeError:
            continue
        lines = text.split("\n")[:-1] if text.endswith("\n") else text.split("\n")
        recorded = path.startswith("tests/golden/") and not path.endswith(SOURCE + (".md",))
        faults = [] if recorded or path.startswith("weights/") else list(word_faults(lines))
        if path.split("/")[0] in SOURCE_ROOTS and path.endswith(SOURCE) or is_script(path, text):
            faults += form_faults(lines, MOST_COLUMNS if path.endswith(CODE) else None)
        if path.endswith(CODE):
            faults += include_faults(path, lines, known, users)
            faults += condition_faults(path, lines)
        if path.endswith(".md"):
            faults += link_faults(root, path, lines)
        yield from ((path, number, what) for number, what in faults)
    for library, where in users.items():
        for path, number in sorted(where.items())[1:]:
            yield path, number, f"{library} is included by one unit, and {min(where)} is that one"
    yield from mirror_faults(paths)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    faults = sorted(check(root))
    for path, number, what in faults:
        print(f"{path}:{number}: {what}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
