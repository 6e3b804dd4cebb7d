#!/usr/bin/env python3
"""Decoding in Llama-3.1-8B's shape at batch 1: Cairn beside transformers, eager and compiled, taking turns in one run.

    llm.py [--device cuda] [--rounds 3] [--input-len 512] [--output-len 128] [--json FILE]

Random bf16 weights; each step chooses the likeliest token. Compiled is torch.compile(mode="reduce-overhead") with a
static cache, which is to say graphs. Exit status 1 where a wanted number is missed.
"""
import inspect
import sys
import time

import torch
import transformers

from side_by_side import arguments, cairn_bench, conclude, graphs, machine, made_on, synchronize, taking_turns

WANTED_SHARE = 0.85
SHAPE = {"vocab_size": 128256, "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
         "num_key_value_heads": 8, "intermediate_size": 14336, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
         "tie_word_embeddings": False,
         "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
                             "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}
# Its name changed within transformers 5.
CACHE = "cache" if "cache" in inspect.signature(transformers.LlamaForCausalLM.forward).parameters else "past_key_values"


class Cairn:
    """Reads each token back before it starts the next step. Its ceiling: bytes that copies read and write a second."""

    def __init__(self, args):
        self.args = args

    def __call__(self):
        a = self.args
        report = cairn_bench(a, "one-batch", "llama-3.1-8b", "--batch-size", 1, "--input-len", a.input_len, "--output-len",
                             a.output_len, "--repeat", 2, "--limits")
        return {"ms": report["decode_step_s"] * 1e3, "ceiling": report["memory_gb_per_s"],
                "bytes": report["decode_weight_bytes"], "report": report}


class Transformers:
    """Tokens stay on the device, and only the end of an answer is waited for."""

    def __init__(self, args, model, compiled):
        self.args, self.model = args, model
        length = args.input_len + args.output_len
        self.static = transformers.StaticCache(config=model.config, max_cache_len=length) if compiled else None
        self.step = torch.compile(self.choose, mode="reduce-overhead", fullgraph=True) if compiled else self.choose

    def choose(self, tokens, positions, cache):
        out = self.model(input_ids=tokens, position_ids=positions, use_cache=True, logits_to_keep=1, **{CACHE: cache})
        return out.logits[:, -1].argmax(-1, keepdim=True)

    @torch.no_grad()
    def __call__(self):
        a, cache = self.args, self.static
        if cache is None:
            cache = transformers.DynamicCache(config=self.model.config)
        else:
            cache.reset()
        prompt = torch.randint(SHAPE["vocab_size"], (1, a.input_len), device=a.device)
        positions = torch.arange(a.input_len + a.output_len, device=a.device).unsqueeze(0)
        token = self.choose(prompt, positions[:, :a.input_len], cache)
        synchronize(a)
        start = time.perf_counter()
        for at in range(a.input_len, a.input_len + a.output_len):
            torch.compiler.cudagraph_mark_step_begin()
            token = self.step(token, positions[:, at:at + 1], cache).clone()
        synchronize(a)
        return {"ms": (time.perf_counter() - start) / a.output_len * 1e3}


def main():
    p = arguments(__doc__)
    p.add_argument("--input-len", type=int, default=512)
    p.add_argument("--output-len", type=int, default=128)
    args = p.parse_args()
    config = transformers.LlamaConfig(**SHAPE | ({"num_hidden_layers": args.layers} if args.layers else {}))
    with made_on(args):
        model = transformers.LlamaForCausalLM(config).eval()
    sides = {"transformers": Transformers(args, model, False)}
    if not args.no_compile:
        sides["transformers, compiled"] = Transformers(args, model, True)
    sides["cairn"] = Cairn(args)
    results = taking_turns(sides, args.rounds)
    skipped = torch._dynamo.utils.counters["inductor"]["cudagraph_skips"]
    if skipped and args.device != "cpu":
        print(f"torch.compile ran {skipped} functions without graphs")
    bytes_read = results["cairn"][0]["bytes"]
    return conclude(args, f"{machine(args, transformers)}\nLlama-3.1-8B's shape, bf16, batch 1, {args.input_len} tokens in, "
                    f"{args.output_len} out", results, "{:.1f} GB/s", lambda ms, ceiling: bytes_read / ms / 1e6 / ceiling,
                    WANTED_SHARE, graphs(args, results))


if __name__ == "__main__":
    sys.exit(main())
