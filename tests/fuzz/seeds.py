#!/usr/bin/env python3
"""Writes small seeds for the fuzz targets: seeds.py FOLDER gives FOLDER/{safetensors,…,multipart}/."""

import glob
import json
import os
import struct
import sys
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MOST = 4096  # bytes of a seed: libFuzzer mutates small inputs many thousand times a second


def read(path):
    with open(os.path.join(ROOT, path), "rb") as f:
        return f.read()


def safetensors():
    """The first entries of real headers, without the data (the target lets a file be longer than its header)."""
    for path in glob.glob(os.path.join(ROOT, "weights/**/*.safetensors"), recursive=True):
        data = read(path)
        header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
        for count in (1, 4):
            few = json.dumps(dict(list(header.items())[:count])).encode()
            yield struct.pack("<Q", len(few)) + few + b"\x18"
    tiny = {"__metadata__": {"format": "pt"}, "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}
    text = json.dumps(tiny).encode()
    yield struct.pack("<Q", len(text)) + text + bytes(12)


def json_config():
    for path in glob.glob(os.path.join(ROOT, "weights/**/*.json"), recursive=True):
        data = read(path)
        if len(data) < MOST:
            yield data
    yield json.dumps({"num_layers": 2, "threshold": 0.1, "guidance": True, "scale": None, "names": ["a"],
                      "stacks": [{"name": "x", "steps": [1, 2]}], "other": {"a": [1e3, -0.5, "\u20ac"]}}).encode()
    yield b'{"a": 1, "b": 2, "a": 3}'
    yield b"cache_config:\n  threshold: 0.12\n  names: [a, 'b', \"c\"]\nstacks:\n  - {name: x, steps: [1]}\nanchor: &a 1\nb: *a\n"


def tokenizer():
    yield "a rocket on a blue background".encode()
    yield "Ünïcödé, 数字 42 and 🚀<|endoftext|></s> \t\n".encode()
    for folder in ("cairn-emoji/tokenizer", "cairn-emoji/tokenizer_2", "cairn-tiny-lm"):
        data = json.loads(read(f"weights/{folder}/tokenizer.json"))
        model = data["model"]
        if isinstance(model["vocab"], dict):
            kept = dict(list(model["vocab"].items())[:40])
            model["merges"] = model["merges"][:8]
        else:
            kept = model["vocab"][:40]
        model["vocab"] = kept
        data["added_tokens"] = [t for t in data.get("added_tokens", []) if t["id"] < 40]
        if "precompiled_charsmap" in json.dumps(data.get("normalizer")):
            data["normalizer"] = None
        text = json.dumps(data, ensure_ascii=False).encode()
        if len(text) < 4 * MOST:
            yield text


def png():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for depth, color, bits in ((8, 2, 24), (8, 6, 32), (8, 0, 8), (16, 2, 48), (1, 3, 1), (8, 4, 16), (4, 3, 4)):
        row = b"\0" + bytes(range((5 * bits + 7) // 8))
        palette = chunk(b"PLTE", bytes(range(48))) if color == 3 else b""
        text = chunk(b"tEXt", b"prompt\0a rocket") + chunk(b"zTXt", b"tag\0\0" + zlib.compress(b"DBCache"))
        text += chunk(b"iTXt", b"seed\0\0\0en\0\0" + "7 \u20ac".encode())
        for interlaced in (0, 1):
            size = struct.pack(">IIBBBBB", 5, 4, depth, color, 0, 0, interlaced)
            yield (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + text + palette + chunk(b"IDAT", zlib.compress(row * 9)) +
                   chunk(b"IEND", b""))


    size = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    yield b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + b"\x7b\0\0\0eXIfMM\0*"  # a chunk that claims 2 GB


def multipart():
    def part(head, data):
        return b'--x\r\nContent-Disposition: form-data; ' + head + b"\r\n\r\n" + data + b"\r\n"

    form = b"multipart/form-data; boundary=x\n"
    image = part(b'name="image"; filename="a.png"\r\nContent-Type: image/png', b"\x89PNG\r\n\x1a\n")
    texts = part(b'name="prompt"', b"a fox") + part(b"name=n", b"2") + part(b'name="sigmas[]"', b"1.0")
    yield form + texts + image + b"--x--\r\n"
    yield form.replace(b"=x", b'="x"') + part(b'name="image[]"; filename="\\"b\\".png"', b"a\r\n--y") * 2 + texts + b"--x--"
    yield b'application/json\n{"prompt": "a", "image": ["data:image/png;base64,UE5H"], "cache": {"threshold": 0.1}}'


def main():
    for target in (safetensors, json_config, tokenizer, png, multipart):
        folder = os.path.join(sys.argv[1], target.__name__)
        os.makedirs(folder, exist_ok=True)
        for number, data in enumerate(target()):
            with open(os.path.join(folder, f"seed{number}"), "wb") as f:
                f.write(data)


if __name__ == "__main__":
    main()
