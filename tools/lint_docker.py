#!/usr/bin/env python3
"""Reads the Dockerfiles of docker/ and prints each broken rule as `path:line: what`. Nothing is built.

Usage: tools/lint_docker.py [ROOT]. Exit status 1 when a rule is broken. Rules: instructions are known and well formed;
base images have a version; what is copied exists; apt leaves no lists behind; the program runs as an ordinary user and
gets its signals (an ENTRYPOINT without a shell).
"""

import fnmatch
import glob
import json
import os
import re
import sys

KNOWN = {"FROM", "RUN", "CMD", "LABEL", "EXPOSE", "ENV", "ADD", "COPY", "ENTRYPOINT", "VOLUME", "USER", "WORKDIR", "ARG",
         "SHELL", "HEALTHCHECK", "STOPSIGNAL", "ONBUILD"}
PAIR = re.compile(r'^[A-Za-z_][A-Za-z0-9_]*=("[^"]*"|\S*)$')


def instructions(text):
    """(line number, name, rest) of each instruction, its continued lines joined."""
    pending, first = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("#") or (pending and not line.strip()):
            continue
        if not pending:
            first = number
        pending += line.rstrip()
        if pending.endswith("\\"):
            pending = pending[:-1] + " "
            continue
        if pending.strip():
            name, _, rest = pending.strip().partition(" ")
            yield first, name, rest.strip()
        pending = ""
    if pending.strip():
        yield first, "\\", pending.strip()


def flags_and_words(rest):
    words = rest.split()
    flags = {}
    while words and words[0].startswith("--"):
        key, _, value = words.pop(0)[2:].partition("=")
        flags[key] = value
    return flags, words


def exec_form(rest):
    """The words of ["a", "b"]; None for the form that needs a shell."""
    try:
        words = json.loads(rest)
    except ValueError:
        return None
    return words if isinstance(words, list) and words and all(isinstance(w, str) for w in words) else None


def filled(text, arguments):
    """text with ${NAME} and $NAME replaced by the defaults of ARG; unknown ones stay."""
    return re.sub(r"\$\{?(\w+)\}?", lambda m: arguments.get(m[1]) or m[0], text)


def ignored(path, patterns):
    """Whether .dockerignore keeps a path, or a folder above it, out of the build."""
    parts = path.split("/")
    above = ["/".join(parts[:n + 1]) for n in range(len(parts))]
    return any(fnmatch.fnmatch(a, p) for a in above for p in patterns)


def image_faults(image, stages, arguments):
    image = filled(image, arguments)
    if image in stages or image == "scratch":
        return
    name, _, tag = image.rpartition("/")[2].partition(":")
    if "$" in image:
        yield f"{image}: an ARG without a default before the first FROM"
    elif "@sha256:" not in image and not tag:
        yield f"{image} has no version: write one after a colon"
    elif tag == "latest":
        yield f"{image}: latest is another image every day"


def run_faults(rest):
    commands = [c.strip() for c in re.split(r"&&|;|\|\|", rest)]
    installs = [c for c in commands if re.match(r"(\w+=\S+ )*apt-get( -\S+)* install\b", c)]
    if installs:
        if not any(re.match(r"apt-get( -\S+)* update\b", c) for c in commands):
            yield "apt-get install without an update in the same RUN: the lists of an older layer are stale"
        if "/var/lib/apt/lists" not in rest:
            yield "apt's lists stay in the layer: end with rm -rf /var/lib/apt/lists/*"
        for command in installs:
            for flag in ("-y", "--no-install-recommends"):
                if flag not in command.split():
                    yield f"apt-get install without {flag}"
    for command in commands:
        if re.search(r"\bpip3? install\b", command) and "--no-cache-dir" not in command:
            yield "pip install without --no-cache-dir"
        if re.match(r"sudo\b", command):
            yield "sudo in an image"
    if "<<" in rest:
        yield "a here-document: write a file and COPY it"


def copy_faults(name, rest, root, stages, patterns):
    flags, words = flags_and_words(rest)
    words = exec_form(" ".join(words)) or words
    if len(words) < 2:
        yield f"{name} takes a source and a target"
        return
    if "from" in flags:
        if flags["from"] not in stages and ":" not in flags["from"]:
            yield f"--from={flags['from']} is no earlier stage"
        return
    for source in words[:-1]:
        if re.match(r"[a-z]+://", source):
            yield f"{source} is fetched without a check of what comes"
        elif source.startswith("/") or ".." in source.split("/"):
            yield f"{source} is outside the folder that is sent to the build"
        elif not glob.glob(os.path.join(root, source)):
            yield f"{source} does not exist"
        elif source != "." and ignored(source.strip("./").rstrip("/"), patterns):
            yield f"{source} is kept out by .dockerignore"


def faults_of(text, root, patterns):
    """(line, what) of each broken rule of one Dockerfile."""
    stages, arguments = [], {}
    user, entry, last = None, None, 1
    for line, name, rest in instructions(text):
        last = line
        if name != name.upper() or name not in KNOWN:
            yield line, f"{name} is no instruction" if name != "\\" else "the last line goes on into nothing"
            continue
        if not rest:
            yield line, f"{name} without words"
            continue
        found = []
        if name == "FROM":
            _, words = flags_and_words(rest)
            if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
                found.append("FROM IMAGE [AS NAME]")
            else:
                found += image_faults(words[0], stages, arguments)
                stages.append(words[2] if len(words) == 3 else str(len(stages)))
            user = entry = None
        elif not stages and name != "ARG":
            found.append(f"{name} before the first FROM")
        elif name == "ARG":
            key, _, value = rest.partition("=")
            if not re.fullmatch(r"\w+", key):
                found.append("ARG NAME[=DEFAULT]")
            elif not stages:
                arguments[key] = value
        elif name in ("ENV", "LABEL"):
            words = re.findall(r'[^\s="]+="[^"]*"|\S+', rest)
            found += [f"{name} {w}: write NAME=value" for w in words if name == "ENV" and not PAIR.match(w)]
        elif name == "RUN":
            found += run_faults(rest)
        elif name in ("COPY", "ADD"):
            if name == "ADD":
                found.append("ADD unpacks and fetches: write COPY")
            found += copy_faults(name, rest, root, stages[:-1], patterns)
        elif name == "WORKDIR" and not rest.startswith(("/", "$")):
            found.append("WORKDIR of a path that depends on what stood before")
        elif name == "USER":
            user = rest
        elif name in ("ENTRYPOINT", "CMD"):
            if exec_form(rest) is None:
                found.append(f'{name} through a shell, which keeps signals to itself: write ["program", "word"]')
            if name == "ENTRYPOINT":
                entry = rest
        yield from ((line, what) for what in found)
    if not stages:
        yield last, "no FROM"
        return
    if user is None or user.split(":")[0] in ("root", "0"):
        yield last, "the last stage runs as root: end with USER"
    if entry is None:
        yield last, "the last stage has no ENTRYPOINT"


def check(root):
    """Every broken rule under root, as (path, line, what)."""
    paths = sorted(glob.glob(os.path.join(root, "docker", "*Dockerfile*")))
    patterns = []
    if os.path.exists(os.path.join(root, ".dockerignore")):
        with open(os.path.join(root, ".dockerignore"), encoding="utf-8") as f:
            patterns = [p.strip().rstrip("/") for p in f if p.strip() and not p.startswith("#")]
    readme = os.path.join(root, "docker", "README.md")
    told = ""
    if os.path.exists(readme):
        with open(readme, encoding="utf-8") as f:
            told = f.read()
    if not paths:
        yield "docker", 1, "no Dockerfile"
    for path in paths:
        name = os.path.relpath(path, root)
        with open(path, encoding="utf-8") as f:
            text = f.read()
        yield from ((name, line, what) for line, what in faults_of(text, root, patterns))
        if os.path.basename(path) not in told:
            yield name, 1, "docker/README.md does not tell of it"


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    faults = sorted(check(root))
    for path, number, what in faults:
        print(f"{path}:{number}: {what}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
