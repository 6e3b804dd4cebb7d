"""Shows that each rule of tools/check.py can fail, and that what stands next to a rule passes."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools"))
from check import check  # noqa: E402

# A small tree that breaks no rule; every case adds to it.
CLEAN = {
    "src/base/json.h": "#pragma once\n#include <string>\n",
    "src/base/json.cc": '#include "base/json.h"\n#include <nlohmann/json.hpp>\n',
    "src/image/image.h": '#pragma once\n#include "base/json.h"\n',
    "src/tensor/tensor.h": "#pragma once\n#include <ATen/core/Tensor.h>\n",
    "src/tensor/tensor.cc": '#include "tensor/tensor.h"\n#include <ATen/ops/empty.h>\n',
    "src/tensor/compat.h": "#pragma once\n#if 1\n#endif\n",
    "src/device/cpu.cc": '#include "tensor/tensor.h"\n#include <c10/core/Event.h>\n#ifdef A\n#endif\n',
    "src/ops/ops.h": '#pragma once\n#include "tensor/tensor.h"\n',
    "src/ops/cpu/rows.cc": '#include "ops/ops.h"\n#include <ATen/Parallel.h>\n#if 1\n#endif\n',
    "src/comm/c10d.cc": "#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>\n",
    "src/llm/plan/plan.h": '#pragma once\n#include "base/json.h"\n',
    "src/app/flags.cc": "#include <CLI/CLI.hpp>\n",
    "tests/base/json_test.cc": '#include "base/json.h"\n',
    "tests/golden/case.json": '{"path": "/' + 'work/x"}\n',
    "docs/a.md": "# A heading, twice\n[b](b.md#two-words) [self](#a-heading-twice) [web](https://example.org)\n",
    "docs/b.md": "## Two `words`\n![picture](p.png)\n",
    "docs/p.png": "",
}

# name: (files that are added, the path that is reported, a part of the message)
FAULTS = {
    "an arrow that points up": ({"src/base/up.cc": '#include "image/image.h"\n'}, "src/base/up.cc", "may not see"),
    "an arrow to a neighbour": ({"src/text/n.cc": '#include "image/image.h"\n'}, "src/text/n.cc", "may not see"),
    "an unknown layer": ({"src/misc/m.cc": '#include "base/json.h"\n'}, "src/misc/m.cc", "no layer"),
    "a header that is not there": ({"src/base/m.cc": '#include "base/none.h"\n'}, "src/base/m.cc", "no file of src"),
    "an include next to the file": ({"src/base/r.cc": '#include "json.h"\n'}, "src/base/r.cc", "no file of src"),
    "a plan that sees tensors": ({"src/llm/plan/p.cc": '#include "tensor/tensor.h"\n'}, "src/llm/plan/p.cc", "no torch"),
    "torch below tensor": ({"src/image/t.cc": "#include <c10/core/Device.h>\n"}, "src/image/t.cc", "tensor.h"),
    "torch above ops": ({"src/nn/t.cc": "#include <ATen/core/Tensor.h>\n"}, "src/nn/t.cc", "tensor.h"),
    "torch in a header of ops": ({"src/ops/t.h": "#include <ATen/Parallel.h>\n"}, "src/ops/t.h", "tensor.h"),
    "an operator in device": ({"src/device/t.cc": "#include <ATen/ops/mm.h>\n"}, "src/device/t.cc", "tensor.h"),
    "an operator in a header": ({"src/tensor/t.h": "#include <ATen/ops/mm.h>\n"}, "src/tensor/t.h", "tensor.h"),
    "c10d outside its unit": (
        {"src/comm/t.cc": "#include <torch/csrc/distributed/c10d/Store.hpp>\n"}, "src/comm/t.cc", "tensor.h"),
    "all of torch": ({"tests/base/t.cc": "#include <torch/torch.h>\n"}, "tests/base/t.cc", "never"),
    "all of ATen": ({"src/ops/t.cc": "#include <ATen/ATen.h>\n"}, "src/ops/t.cc", "never"),
    "std::regex": ({"src/text/t.cc": "#  include <regex>\n"}, "src/text/t.cc", "never"),
    "iostream in a header": ({"src/base/t.h": "#include <iostream>\n"}, "src/base/t.h", "iostream"),
    "nlohmann in a header": ({"src/base/t.h": "#include <nlohmann/json.hpp>\n"}, "src/base/t.h", "nlohmann"),
    "nlohmann in app": ({"src/app/t.cc": "#include <nlohmann/json.hpp>\n"}, "src/app/t.cc", "nlohmann"),
    "CLI11 twice": ({"src/app/two.cc": "#include <CLI/App.hpp>\n"}, "src/app/two.cc", "CLI11"),
    "yaml-cpp in a header": ({"src/base/t.h": "#include <yaml-cpp/yaml.h>\n"}, "src/base/t.h", "yaml-cpp"),
    "a condition in base": ({"src/base/c.cc": "  # ifdef X\n#endif\n"}, "src/base/c.cc", "#ifdef"),
    "a condition in the reference": ({"src/ops/reference/c.cc": "#if 1\n#endif\n"}, "src/ops/reference/c.cc", "#if"),
    "a condition beside the devices": ({"src/ops/c.cc": "#if 1\n#endif\n"}, "src/ops/c.cc", "#if"),
    "401 lines": ({"src/base/l.cc": "//\n" * 401}, "src/base/l.cc", "401 lines"),
    "401 lines of a script": ({"start": "#!/bin/sh\n" + ":\n" * 400}, "start", "401 lines"),
    "121 columns": ({"bench/w.cc": "//" + "x" * 119 + "\n"}, "bench/w.cc", "121 columns"),
    "a blank at the end": ({"src/base/b.cc": "int x; \n"}, "src/base/b.cc", "blanks"),
    "unfinished work": ({"docs/c.md": "TO" + "DO: more\n"}, "docs/c.md", "finish it"),
    "a path of one machine": ({"tools/t.py": "x = '/" + "home/me/x'\n"}, "tools/t.py", "one machine"),
    "a dead link": ({"docs/c.md": "see [x](none.md)\n"}, "docs/c.md", "leads nowhere"),
    "a dead picture": ({"README.md": '<img src="docs/none.png">\n'}, "README.md", "leads nowhere"),
    "a dead anchor": ({"docs/c.md": "see [x](b.md#three)\n"}, "docs/c.md", "no such heading"),
    "tests of nothing": ({"tests/misc/x_test.cc": "int x;\n"}, "tests/misc", "mirror src"),
}


def faults(extra):
    with tempfile.TemporaryDirectory() as root:
        for path, text in {**CLEAN, **extra}.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                f.write(text)
        return list(check(root))


class Check(unittest.TestCase):
    def test_a_clean_tree_breaks_no_rule(self):
        self.assertEqual(faults({}), [])

    def test_what_stands_next_to_a_rule_passes(self):
        near = {"src/base/a.cc": "//" + "x" * 118 + "\n" + "// #if in a comment, <regex> too\n" * 399,
                "src/nn/a.cc": '#include "ops/ops.h"\n', "docs/c.md": "```\n[x](none.md)\n```\n`[x](none.md)`\n"}
        self.assertEqual(faults(near), [])


def add_case(name, files, path, what):
    def case(self):
        found = faults(files)
        self.assertEqual(len(found), 1, found)
        self.assertEqual(found[0][0], path)
        self.assertIn(what, found[0][2])
    setattr(Check, "test_" + name.replace(" ", "_"), case)


for case_name, (added, where, message) in FAULTS.items():
    add_case(case_name, added, where, message)

if __name__ == "__main__":
    unittest.main()
