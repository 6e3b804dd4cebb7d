#!/usr/bin/env python3
"""Validates texts with the package jsonschema: validate_json.py FILE, lines of {"schema": …, "text": …}.

Prints what is not valid, then the number of texts that are. Exit status 1 when one is not.
"""

import json
import sys

import jsonschema


def main():
    checker = jsonschema.FormatChecker()
    checker.checkers.pop("time", None)  # draft 3's, without a zone: RFC 3339 demands one
    valid = invalid = 0
    with open(sys.argv[1], encoding="utf-8") as f:
        for line in f:
            case = json.loads(line)
            try:
                jsonschema.Draft202012Validator(case["schema"], format_checker=checker).validate(json.loads(case["text"]))
                valid += 1
            except (ValueError, jsonschema.ValidationError) as e:
                invalid += 1
                print(json.dumps(case), str(e).splitlines()[0])
    print(f"{valid} valid")
    return 1 if invalid else 0


if __name__ == "__main__":
    sys.exit(main())
