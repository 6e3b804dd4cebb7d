#!/usr/bin/env python3
"""Whole calls of Cairn beside diffusers and cache-dit: same weights, prompt, seed, dtype and threads, in one run.

    run.py --cairn build/bin/cairn --model weights/cairn-emoji [--dtypes fp32,bf16] [--rounds 5] [--compile] [--out FILE]

In every round each rival makes the picture once, weights loaded, and right after it Cairn does, so that a machine whose
speed drifts is as slow for both. Prints a table of medians, and with --out one JSON line a subject.
"""
import argparse
import json
import logging
import os
import pathlib
import statistics
import sys
import tempfile
import time
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")
import cache_dit
import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
from sides import run, taking_turns

diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# SCM fast + TaylorSeer: cache-dit's keys, which both sides take.
CACHE = {"Fn_compute_blocks": 1, "Bn_compute_blocks": 0, "residual_diff_threshold": 0.24, "max_warmup_steps": 4,
         "steps_computation_policy": "static"}


def psnr(a, b):
    mse = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float("inf") if mse == 0 else 10 * np.log10(255**2 / mse)


class Rival:
    """A diffusers pipeline, with cache-dit or torch.compile on it or neither."""

    def __init__(self, args, dtype, cached=False, compiled=False):
        self.args = args
        self.pipe = diffusers.FluxPipeline.from_pretrained(args.model, torch_dtype=DTYPES[dtype])
        self.pipe.set_progress_bar_config(disable=True)
        if compiled:
            self.pipe.transformer = torch.compile(self.pipe.transformer)
        if cached:
            mask = cache_dit.steps_mask(total_steps=args.steps, mask_policy="fast")
            config = cache_dit.DBCacheConfig(**CACHE, num_inference_steps=args.steps, steps_computation_mask=mask)
            order = cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=1)
            cache_dit.enable_cache(self.pipe, cache_config=config, calibrator_config=order)

    def __call__(self):
        """Seconds of one call, and its picture."""
        start = time.perf_counter()
        with torch.inference_mode():
            picture = self.pipe(self.args.prompt, num_inference_steps=self.args.steps, height=self.args.size,
                                width=self.args.size, max_sequence_length=self.args.text_length,
                                generator=torch.Generator().manual_seed(self.args.seed)).images[0]
        return {"total_s": time.perf_counter() - start}, np.asarray(picture)


class Cairn:
    """The cairn program; one process a call, which warms up before the measured run."""

    def __init__(self, args, dtype, folder, cached=False):
        self.picture, self.report = folder / "picture.png", folder / "report.json"
        a = args
        self.command = [a.cairn, "generate", a.prompt, "--model-path", a.model, "--dtype", dtype, "--threads", a.threads,
                        "--steps", a.steps, "--height", a.size, "--width", a.size, "--text-length", a.text_length,
                        "--seed", a.seed, "--warmup", 1, "--repeat", 1, "--quiet", "--save-path", self.picture,
                        "--json", self.report]
        if cached:
            keys = dict(CACHE, num_inference_steps=a.steps, steps_computation_mask="fast", enable_taylorseer=True,
                        enable_encoder_taylorseer=True, taylorseer_order=1)
            (folder / "cache.yaml").write_text(json.dumps({"cache_config": keys}))
            self.command += ["--config", folder / "cache.yaml"]

    def __call__(self):
        run(*self.command)
        timing = json.loads(self.report.read_text())["timing"]["runs"][-1]
        return timing, np.asarray(Image.open(self.picture))


def measure(subjects, rounds):
    """Seconds of every round and the picture of each subject, the subjects taking turns."""
    results = {}
    for name, calls in taking_turns(subjects, rounds).items():
        runs = [timing for timing, _ in calls]
        results[name] = {"runs": runs, "picture": calls[-1][1], "median_s": statistics.median(r["total_s"] for r in runs)}
    return results


def subjects_of(args, dtype, folder):
    """Rival and Cairn side by side: cairn's own rows begin with its name."""
    subjects = {"diffusers": Rival(args, dtype), "cairn": Cairn(args, dtype, folder),
                "cache-dit": Rival(args, dtype, cached=True), "cairn cached": Cairn(args, dtype, folder, cached=True)}
    if args.compile:
        subjects["diffusers compiled"] = Rival(args, dtype, compiled=True)
    return subjects


def show(dtype, results):
    """The table of one dtype."""
    seconds = {name: r["median_s"] for name, r in results.items()}
    print(f"\n{dtype}: whole call, median\n{'':<22}{'ms':>9}{'diffusers / it':>16}{'PSNR to own uncached':>22}")
    for name, r in results.items():
        own = {"cache-dit": "diffusers", "cairn cached": "cairn", "diffusers compiled": "diffusers"}.get(name)
        quality = f"{psnr(r['picture'], results[own]['picture']):.2f} dB" if own else ""
        print(f"{name:<22}{seconds[name] * 1e3:>9.1f}{seconds['diffusers'] / seconds[name]:>16.2f}{quality:>22}")
    loop = {name: statistics.median(r["denoise_s"] for r in results[name]["runs"]) for name in ("cairn", "cairn cached")}
    print(f"cairn is {seconds['diffusers'] / seconds['cairn']:.2f} times faster than diffusers, "
          f"cached {seconds['cache-dit'] / seconds['cairn cached']:.2f} times faster than cache-dit; "
          f"its cached loop {loop['cairn'] / loop['cairn cached']:.2f} times faster than its uncached one")
    if "diffusers compiled" in seconds:
        print(f"cairn is {seconds['diffusers compiled'] / seconds['cairn']:.2f} times faster than compiled diffusers")
    print(f"uncached pictures of cairn and diffusers: {psnr(results['cairn']['picture'], results['diffusers']['picture']):.1f} dB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cairn", default="build/bin/cairn", help="the program")
    parser.add_argument("--model", default="weights/cairn-emoji", help="a FluxPipeline folder")
    parser.add_argument("--dtypes", default="fp32,bf16")
    parser.add_argument("--prompt", default="rocket on a blue background")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--size", type=int, default=128, help="pixels of a side")
    parser.add_argument("--text-length", type=int, default=32)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile the rival too (minutes)")
    parser.add_argument("--out", help="JSON lines go here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, cache-dit {cache_dit.__version__}, {args.threads} threads, {args.steps} steps, "
          f"{args.size} x {args.size}, {args.rounds} rounds")
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for dtype in args.dtypes.split(","):
            results = measure(subjects_of(args, dtype, pathlib.Path(folder)), args.rounds)
            show(dtype, results)
            lines += [json.dumps({"subject": name, "dtype": dtype, "median_s": r["median_s"], "threads": args.threads,
                                  "runs_s": [one["total_s"] for one in r["runs"]]}) for name, r in results.items()]
    if args.out:
        pathlib.Path(args.out).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
