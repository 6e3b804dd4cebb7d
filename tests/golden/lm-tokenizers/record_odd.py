"""Records what CLIPTokenizer and T5Tokenizer make of random Unicode, from vocab.json + merges.txt and from spiece.model.

    python record_odd.py MODEL > odd.jsonl
"""
import json, pathlib, random, shutil, sys, tempfile
from transformers import CLIPTokenizer, T5Tokenizer

RANGES = [(0x20, 0x7F), (0x20, 0x7F), (0, 0x20), (0x80, 0x250), (0x250, 0x600), (0x600, 0x1000), (0x1000, 0x2000), (0x2000, 0x2C00), (0x2C00, 0x3100), (0x3100, 0xA000),
          (0xA000, 0xD800), (0xE000, 0x10000), (0x10000, 0x12000), (0x16D00, 0x17000), (0x1D000, 0x1FB00), (0x20000, 0x30000), (0xE0000, 0xE0200)]
PARTS = ["<|endoftext|>", "<|startoftext|>", "<|END", "</s>", "<pad>", "<unk>", "\u2581", "'ll", "'\u017f", "\u212a", "\r\n", "\u180e", "\ufeff", "e\u0301", "\u0323\u0307", "\ufb01\u0301", "\uff76\uff9e",
         "\u1100\u1161\u11a8", "\U0001f469\u200d\U0001f680", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "\u0130", "\u1e9e", "\ua7dc", "x" * 40, " rocket", "Blue BACKGROUND", "   ", "\0"]


def text(g):
    pick = lambda: g.choice(PARTS) if g.random() < 0.4 else "".join(chr(g.randrange(*r)) for r in [g.choice(RANGES)] for _ in range(g.randint(1, 6)))
    return "".join(pick() + g.choice(["", "", " "]) for _ in range(g.randint(1, 12)))


def only(folder, *names):
    out = tempfile.mkdtemp()
    for name in names + ("tokenizer_config.json",):
        shutil.copy(folder / name, out)
    return out


model, g = pathlib.Path(sys.argv[1]), random.Random(20)
clip = CLIPTokenizer.from_pretrained(only(model / "tokenizer", "vocab.json", "merges.txt"))
t5 = T5Tokenizer.from_pretrained(only(model / "tokenizer_2", "spiece.model"))
for t in [text(g) for _ in range(400)]:
    print(json.dumps({"text": t, "clip": clip(t).input_ids, "t5": t5(t).input_ids}, separators=(",", ":")))
