#!/usr/bin/env python3
"""Cairn beside llama.cpp on a CPU: same weights in bf16, same threads, taking turns in one run.

    llama_cpp.py --cairn build/release/bin/cairn --work FOLDER [--rounds 5] [--threads N] [--only tiny,0.6b] [--out FILE]

Needs cmake, ninja, a C++ compiler, and the Python packages gguf, numpy and safetensors. The first run fetches the source
of llama-cpp-python, builds llama.cpp's own benchmarks from it, and writes GGUF files: cairn-tiny-lm, and random weights of
Qwen3-0.6B's shape. llama.cpp's numbers are those of llama-bench and llama-batched-bench, which pick no tokens; Cairn's go
through its engine: paged keys and values, continuous batching, sampling.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

import gguf
import numpy as np
from safetensors import safe_open

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
from sides import run

SOURCE = "llama-cpp-python==0.3.36"
QWEN3_0_6B = {"vocab_size": 151936, "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16,
              "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072, "max_position_embeddings": 40960,
              "rms_norm_eps": 1e-6, "rope_theta": 1e6}


def build(work):
    tools = work / "build" / "bin"
    if (tools / "llama-bench").exists():
        return tools
    subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python", SOURCE, "-d",
                    work], check=True)
    subprocess.run(["tar", "xf", *work.glob("llama_cpp_python*.tar.gz"), "-C", work], check=True)
    source = next(work.glob("llama_cpp_python*/vendor/llama.cpp"))
    subprocess.run(["cmake", "-S", source, "-B", work / "build", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                    "-DGGML_NATIVE=ON", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
                    "-DLLAMA_BUILD_SERVER=OFF"], check=True)
    subprocess.run(["ninja", "-C", work / "build", "llama-bench", "llama-batched-bench"], check=True)
    return tools


def bf16(values):
    """Numbers as bf16 in bytes, rounded to nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).view(np.uint8)


def write_gguf(path, config, tensor):
    """A model of Qwen3's kind. `tensor`: name in transformers and shape -> float32 numbers."""
    if path.exists():
        return
    w = gguf.GGUFWriter(path, "qwen3")
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_block_count(config["num_hidden_layers"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"])
    w.add_head_count_kv(config["num_key_value_heads"])
    w.add_key_length(config["head_dim"])
    w.add_value_length(config["head_dim"])
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    w.add_rope_freq_base(config["rope_theta"])
    w.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    w.add_vocab_size(config["vocab_size"])
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list([f"t{i}" for i in range(config["vocab_size"])])
    w.add_token_types([1] * config["vocab_size"])
    w.add_token_merges(["t 0"])
    d, heads, kv, width = (config[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"))
    ff = config["intermediate_size"]

    def add(name, source, shape):
        values = tensor(source, shape)
        if len(shape) == 1:
            return w.add_tensor(name, values.astype(np.float32))
        return w.add_tensor(name, bf16(values).reshape(shape[0], -1), raw_dtype=gguf.GGMLQuantizationType.BF16)

    add("token_embd.weight", "model.embed_tokens.weight", (config["vocab_size"], d))
    add("output_norm.weight", "model.norm.weight", (d,))
    for i in range(config["num_hidden_layers"]):
        for name, source, shape in [
                ("attn_norm", "input_layernorm", (d,)), ("ffn_norm", "post_attention_layernorm", (d,)),
                ("attn_q", "self_attn.q_proj", (heads * width, d)), ("attn_k", "self_attn.k_proj", (kv * width, d)),
                ("attn_v", "self_attn.v_proj", (kv * width, d)), ("attn_output", "self_attn.o_proj", (d, heads * width)),
                ("attn_q_norm", "self_attn.q_norm", (width,)), ("attn_k_norm", "self_attn.k_norm", (width,)),
                ("ffn_gate", "mlp.gate_proj", (ff, d)), ("ffn_up", "mlp.up_proj", (ff, d)),
                ("ffn_down", "mlp.down_proj", (d, ff))]:
            add(f"blk.{i}.{name}.weight", f"model.layers.{i}.{source}.weight", shape)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def tiny(work):
    folder = pathlib.Path(__file__).resolve().parents[2] / "weights" / "cairn-tiny-lm"
    config = json.loads((folder / "config.json").read_text())
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    with safe_open(folder / "model.safetensors", "np") as f:
        def tensor(name, shape):
            at = f.get_slice(name)
            assert tuple(at.get_shape()) == shape, name
            return read(folder / "model.safetensors", name).reshape(shape)
        write_gguf(work / "tiny.gguf", config, tensor)
    return work / "tiny.gguf"


def read(path, name):
    """A bf16 or fp32 tensor of a safetensors file: numpy knows no bf16."""
    with open(path, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        entry = json.loads(f.read(length))[name]
        begin, end = entry["data_offsets"]
        f.seek(8 + length + begin)
        data = f.read(end - begin)
    if entry["dtype"] == "F32":
        return np.frombuffer(data, np.float32)
    return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)


def shape_0_6b(work):
    rng = np.random.default_rng(1)

    def tensor(name, shape):
        return np.ones(shape, np.float32) if len(shape) == 1 else rng.normal(0, 0.02, shape).astype(np.float32)
    write_gguf(work / "qwen3-0.6b.gguf", QWEN3_0_6B, tensor)
    return work / "qwen3-0.6b.gguf"


class Subject:
    """One model for both sides. Every method gives tokens a second."""

    def __init__(self, name, file, flags, tools, cairn, threads, work):
        self.name, self.file, self.flags, self.tools, self.cairn = name, file, flags, tools, cairn
        self.threads, self.json = threads, work / "cairn.json"

    def llama_bench(self, prompt, answer):
        out = run(self.tools / "llama-bench", "-m", self.file, "-t", self.threads, "-C", hex((1 << self.threads) - 1),
                  "--cpu-strict", "1", "-r", 1, "-p", prompt, "-n", answer, "-o", "json")
        return json.loads(out)[0]["avg_ts"]

    def llama_batched(self, batch, prompt, answer):
        command = [self.tools / "llama-batched-bench", "-m", self.file, "-t", self.threads, "-c",
                   batch * (prompt + answer) + 64, "-npp", prompt, "-ntg", answer, "-npl", batch, "--output-format", "jsonl"]
        for _ in range(3):  # now and then it ends without a line
            if found := re.findall(r'"speed_tg": ([\d.]+)', run(*command)):
                return float(found[-1])
        sys.exit("llama-batched-bench gave no numbers three times")

    def cairn_one_batch(self, prompt, answer, what):
        run(self.cairn, "bench", "one-batch", *self.flags, "--batch-size", 1, "--input-len", prompt, "--output-len", answer,
            "--threads", self.threads, "--repeat", 2, "--json", self.json)
        return json.loads(self.json.read_text())[what]

    def cairn_engine(self, batch, prompt, answer):
        run(self.cairn, "bench", "offline", *self.flags, "--num-prompts", batch, "--input-len", prompt, "--output-len",
            answer, "--threads", self.threads, "--json", self.json)
        return batch * 1000 / json.loads(self.json.read_text())["median_itl_ms"]

    def measure(self, short):
        answer = 128 if not short else 48
        yield "decode, batch 1", self.llama_bench(0, answer), self.cairn_engine(1, 8, answer)
        yield "decode, batch 16", self.llama_batched(16, 32, answer), self.cairn_engine(16, 32, answer)
        yield "prefill of 512", self.llama_bench(512, 0), self.cairn_one_batch(512, 1, "prefill_throughput")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cairn", required=True, type=pathlib.Path)
    p.add_argument("--work", required=True, type=pathlib.Path)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--only", default="tiny,0.6b")
    p.add_argument("--out", type=pathlib.Path)
    args = p.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    tools = build(args.work)
    subjects = []
    for name in args.only.split(","):
        file, flags = (tiny(args.work), []) if name == "tiny" else (shape_0_6b(args.work), ["--synthetic", "qwen3-0.6b"])
        subjects.append(Subject(name, file, flags, tools, args.cairn, args.threads, args.work))
    seen = {}
    for _ in range(args.rounds):
        for s in subjects:
            for what, theirs, ours in s.measure(s.name != "tiny"):
                seen.setdefault((s.name, what), []).append((theirs, ours))
                print(f"  {s.name}, {what}: llama.cpp {theirs:.1f}, cairn {ours:.1f}", file=sys.stderr)
    print(f"\n{'tokens/s, medians':<28}{'llama.cpp':>12}{'cairn':>12}{'ratio':>8}  (least to most)")
    lines = []
    for (name, what), pairs in seen.items():
        theirs, ours = (statistics.median(p[i] for p in pairs) for i in (0, 1))
        ratios = sorted(b / a for a, b in pairs)
        print(f"{name + ', ' + what:<28}{theirs:>12.1f}{ours:>12.1f}{statistics.median(ratios):>8.2f}"
              f"  ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        lines.append(json.dumps({"model": name, "what": what, "llama_cpp": theirs, "cairn": ours, "ratios": ratios}))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
