"""What dit.py and llm.py share: flags, Cairn's side, PyTorch's device, and the verdict on what was wanted."""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import statistics
import sys
import tempfile

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "bench"))
from sides import run, taking_turns


def arguments(description):
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cairn", type=pathlib.Path, default=ROOT / "build" / "release" / "bin" / "cairn", help="the program")
    p.add_argument("--device", default="cuda")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--layers", type=int, default=0, help="of the shape's layers, so many; 0: all")
    p.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    p.add_argument("--json", type=pathlib.Path, help="the numbers as JSON")
    return p


def cairn_bench(args, subject, shape, *flags):
    """The report of one run of `cairn bench`, a process of its own that loads the shape anew."""
    shape += f":layers={args.layers}" if args.layers else ""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        run(args.cairn, "bench", subject, "--synthetic", shape, "--dtype", "bf16", "--device", args.device, "--threads",
            args.threads, "--json", report, *flags)
        return json.loads(report.read_text())


def synchronize(args):
    if args.device != "cpu":
        torch.accelerator.synchronize(torch.device(args.device))


@contextlib.contextmanager
def made_on(args):
    """Modules built meanwhile have random bf16 weights on the device."""
    torch.set_num_threads(args.threads)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(args.device):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def machine(args, *libraries):
    """One line: the card, and what ran on it."""
    card = platform.processor() or platform.machine()
    if args.device != "cpu":
        card = torch.get_device_module(args.device).get_device_name()
    return ", ".join([card, f"torch {torch.__version__}"] + [f"{lib.__name__} {lib.__version__}" for lib in libraries])


def graphs(args, results):
    """Whether Cairn's side ran as graphs, as what is wanted of it."""
    reports = [r["report"] for r in results["cairn"]]
    replays, refused = min(r["graph_replays"] for r in reports), reports[-1]["graphs_refused"]
    if args.device == "cpu":
        return []
    return [("graphs are replayed" + (f"; they are not: {refused}" if refused else ""), replays, 1)]


def conclude(args, header, results, ceiling, share, wanted_share, more):
    """Prints the table and the verdicts, and gives the exit status. A result is {"ms": of a step, "ceiling": what that
    run measured, "report"}, the last two of Cairn's alone. share(ms, ceiling) is the part of it that a step uses.
    more: (what, value, least wanted)."""
    ms = {name: statistics.median(r["ms"] for r in calls) for name, calls in results.items()}
    most = statistics.median(r["ceiling"] for r in results["cairn"])
    print(f"{header}\nceiling: {ceiling.format(most)}\n\n{'medians':<24}{'ms a step':>11}{'of ceiling':>12}"
          f"{'cairn is faster':>17}  (least to most)")
    ratios = {}
    for name, calls in results.items():
        line = f"{name:<24}{ms[name]:>11.3f}{100 * share(ms[name], most):>11.1f}%"
        if name != "cairn":
            ratios[name] = sorted(r["ms"] / own["ms"] for r, own in zip(calls, results["cairn"]))
            line += f"{statistics.median(ratios[name]):>16.2f}x  ({ratios[name][0]:.2f} to {ratios[name][-1]:.2f})"
        print(line)
    wanted = [("share of the ceiling", share(ms["cairn"], most), wanted_share)]
    wanted += [(f"times as fast as {name}", statistics.median(r), 1.0) for name, r in ratios.items()] + more
    print()
    for what, value, least in wanted:
        print(f"{'PASS' if value >= least else 'MISS'}  {what}: {value:.3g}, {least:.3g} wanted")
    if args.json:
        args.json.write_text(json.dumps(
            {"what": header, "device": args.device, "layers": args.layers, "ceiling": most,
             "wanted": [{"what": w, "value": v, "wanted": least, "met": v >= least} for w, v, least in wanted],
             "sides": {name: {"median_ms": ms[name], "ms": [r["ms"] for r in calls]} for name, calls in results.items()},
             "cairn": [r["report"] for r in results["cairn"]]}, indent=1) + "\n")
    return int(any(value < least for _, value, least in wanted))
