"""What the scripts here share: programs that must succeed, and sides that take turns."""
import subprocess
import sys


def run(*command):
    """What the command printed. Ends the script where it fails."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return done.stdout


def taking_turns(sides, rounds):
    """What each side gave in each round, after a call that warms up: a machine whose speed drifts is as slow for all."""
    for side in sides.values():
        side()
    results = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            results[name].append(side())
    return results
