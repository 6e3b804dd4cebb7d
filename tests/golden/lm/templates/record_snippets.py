"""Renders the sources in snippets.jsonl with Jinja2, set up as transformers sets it up, and writes the texts back.

    python record_snippets.py
"""
import json
from datetime import datetime
from pathlib import Path

import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

FILE = Path(__file__).resolve().parent / "snippets.jsonl"
NOW = datetime(2026, 3, 5, 14, 7, 9)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def main():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["strftime_now"] = NOW.strftime
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    with open(FILE, "w", encoding="utf-8") as f:
        for row in rows:
            row["expected"] = env.from_string(row["source"]).render()
            f.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
