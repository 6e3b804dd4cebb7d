"""Shows that each rule of tools/lint_docker.py can fail, and that what stands next to a rule passes."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools"))
from lint_docker import check  # noqa: E402

CLEAN = """# a comment
ARG VERSION=12
FROM debian:${VERSION}-slim AS build
RUN apt-get update \\
    # a comment inside
    && apt-get install -y --no-install-recommends g++ \\
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
COPY src/a.cc src/b*.cc /src/
FROM registry.example:5000/team/base@sha256:00
COPY --from=build /src/x /x
ENV A=1 B="two words" \\
    C=3
USER 1000:1000
ENTRYPOINT ["/x", "--flag"]
CMD ["serve"]
"""

# name: (a text of CLEAN, what stands in its place, a part of the message)
FAULTS = {
    "an unknown instruction": ("WORKDIR /src", "WORKDIRS /src", "no instruction"),
    "an instruction in small letters": ("WORKDIR /src", "workdir /src", "no instruction"),
    "no words": ("WORKDIR /src", "WORKDIR", "without words"),
    "a line that goes on into nothing": ('CMD ["serve"]\n', "CMD \\", "goes on into nothing"),
    "an instruction before FROM": ("ARG VERSION=12", "ARG VERSION=12\nUSER a", "before the first FROM"),
    "latest": ("debian:${VERSION}-slim", "debian:latest", "latest"),
    "no tag": ("debian:${VERSION}-slim", "debian", "no version"),
    "an ARG without a default": ("ARG VERSION=12", "ARG VERSION", "without a default"),
    "a bad FROM": ("-slim AS build", "-slim IN build", "FROM IMAGE"),
    "no update": ("apt-get update \\\n", "true \\\n", "stale"),
    "lists left": ("rm -rf /var/lib/apt/lists/*", "true", "lists stay"),
    "a question": ("install -y", "install", "without -y"),
    "recommended packages": ("--no-install-recommends ", "", "without --no-install-recommends"),
    "a cache of pip": ("WORKDIR /src", "RUN pip install x", "--no-cache-dir"),
    "a here-document": ("WORKDIR /src", "RUN cat <<E\nE", "here-document"),
    "a missing source": ("src/a.cc", "src/none.cc", "does not exist"),
    "a pattern of nothing": ("src/b*.cc", "src/c*.cc", "does not exist"),
    "an ignored source": ("src/a.cc", "build/a.cc", ".dockerignore"),
    "a source outside": ("src/a.cc", "../a.cc", "outside"),
    "no target": ("COPY . .", "COPY .", "source and a target"),
    "an unknown stage": ("--from=build", "--from=none", "no earlier stage"),
    "ADD": ("COPY . .", "ADD . .", "COPY"),
    "a fetched source": ("COPY . .", "COPY http://example.org/x .", "fetched"),
    "an ENV of two words": ("A=1", "A 1", "NAME=value"),
    "a relative WORKDIR": ("WORKDIR /src", "WORKDIR src", "depends"),
    "root": ("USER 1000:1000", "USER root", "as root"),
    "no USER": ("USER 1000:1000\n", "", "as root"),
    "an ENTRYPOINT through a shell": ('ENTRYPOINT ["/x", "--flag"]', "ENTRYPOINT /x --flag", "shell"),
    "no ENTRYPOINT": ('ENTRYPOINT ["/x", "--flag"]\n', "", "no ENTRYPOINT"),
    "a CMD through a shell": ('CMD ["serve"]', "CMD serve", "shell"),
    "nothing": (CLEAN, "# nothing\n", "no FROM"),
}


def faults(text, readme="x.Dockerfile"):
    with tempfile.TemporaryDirectory() as root:
        for path, content in {"docker/x.Dockerfile": text, "docker/README.md": readme, ".dockerignore": "build\n",
                              "src/a.cc": "", "src/b1.cc": "", "build/a.cc": ""}.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                f.write(content)
        return [what for _, _, what in check(root)]


class Lint(unittest.TestCase):
    def test_a_clean_file_breaks_no_rule(self):
        self.assertEqual(faults(CLEAN), [])

    def test_a_file_that_the_readme_leaves_out(self):
        self.assertEqual(faults(CLEAN, "nothing"), ["docker/README.md does not tell of it"])

    def test_no_file(self):
        with tempfile.TemporaryDirectory() as root:
            self.assertEqual(len(list(check(root))), 1)


def add_case(name, old, new, what):
    def case(self):
        self.assertEqual(CLEAN.count(old), 1, "the case replaces one place")
        found = faults(CLEAN.replace(old, new))
        self.assertTrue(any(what in f for f in found), found)
    setattr(Lint, "test_" + name.replace(" ", "_"), case)


for case_name, (before, after, message) in FAULTS.items():
    add_case(case_name, before, after, message)

if __name__ == "__main__":
    unittest.main()
