#!/usr/bin/env python3
"""One denoising step of FLUX.1-dev's shape: Cairn beside diffusers, eager and compiled, taking turns in one run.

    dit.py [--device cuda] [--rounds 3] [--size 1024] [--json FILE]

Random bf16 weights, 4096 tokens of picture and 512 of text. A step is the denoiser's forward and the scheduler's step,
timed with the device synchronised. Exit status 1 where a wanted number is missed.
"""
import statistics
import sys
import time

import diffusers
import numpy as np
import torch

from side_by_side import arguments, cairn_bench, conclude, graphs, machine, made_on, synchronize, taking_turns

WANTED_SHARE = 0.70
STEPS = 28  # of a request
TEXT, CHANNELS, TEXT_WIDTH, POOLED_WIDTH = 512, 64, 4096, 768


class Cairn:
    """Its modulation, which it computes once a request and diffusers at every step, is spread over a request's steps."""

    def __init__(self, args):
        self.args = args

    def __call__(self):
        a = self.args
        report = cairn_bench(a, "dit", "flux-dev", "--height", a.size, "--width", a.size, "--text-length", a.text,
                             "--steps", a.steps, "--repeat", 1)
        parts = {p["part"]: p for p in report["parts"]}
        step = parts["step, computed"]
        return {"ms": step["ms"] + parts["modulation, once a request"]["ms"] / STEPS,
                "ceiling": report["ceiling_gflops_per_s"], "flops": step["flops"], "report": report}


class Diffusers:
    def __init__(self, args, model):
        self.args, self.model = args, model
        self.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
        side = args.size // 16
        self.tokens = side * side
        with made_on(args):
            self.text = torch.randn(1, args.text, TEXT_WIDTH)
            self.pooled = torch.randn(1, POOLED_WIDTH)
            self.guidance = torch.full((1,), 3.5)
            self.text_ids = torch.zeros(args.text, 3)
            rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
            self.image_ids = torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3).to(torch.bfloat16)

    @torch.inference_mode()
    def __call__(self):
        a = self.args
        self.scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / STEPS, STEPS), device=a.device, mu=1.15)
        self.scheduler.set_begin_index(0)  # as the pipeline does: no search for the step, which would wait for the device
        latents = torch.randn(1, self.tokens, CHANNELS, device=a.device, dtype=torch.bfloat16)
        seconds = []
        for t in self.scheduler.timesteps[:a.steps]:
            synchronize(a)
            start = time.perf_counter()
            timestep = t.expand(1).to(latents.dtype) / 1000
            velocity = self.model(hidden_states=latents, timestep=timestep, guidance=self.guidance,
                                  pooled_projections=self.pooled, encoder_hidden_states=self.text,
                                  txt_ids=self.text_ids, img_ids=self.image_ids, return_dict=False)[0]
            latents = self.scheduler.step(velocity, t, latents, return_dict=False)[0]
            synchronize(a)
            seconds.append(time.perf_counter() - start)
        if not torch.isfinite(latents).all():
            sys.exit("diffusers' latents are not finite")
        return {"ms": statistics.median(seconds[1:]) * 1e3}


def main():
    p = arguments(__doc__)
    p.add_argument("--size", type=int, default=1024, help="pixels of a side")
    p.add_argument("--text", type=int, default=TEXT, help="tokens of text")
    p.add_argument("--steps", type=int, default=8, help="steps of a round; medians are taken over them")
    args = p.parse_args()
    layers = {"num_layers": args.layers, "num_single_layers": args.layers} if args.layers else {}
    with made_on(args):
        model = diffusers.FluxTransformer2DModel(guidance_embeds=True, **layers).eval()
    sides = {"diffusers": Diffusers(args, model)}
    if not args.no_compile:
        sides["diffusers, compiled"] = Diffusers(args, torch.compile(model))
    sides["cairn"] = Cairn(args)
    results = taking_turns(sides, args.rounds)
    flops = results["cairn"][0]["flops"]
    return conclude(args, f"{machine(args, diffusers)}\nFLUX.1-dev's shape, bf16, {args.size} x {args.size}", results,
                    "{:.0f} GFLOP/s", lambda ms, ceiling: flops / ms / 1e6 / ceiling, WANTED_SHARE, graphs(args, results))


if __name__ == "__main__":
    sys.exit(main())
