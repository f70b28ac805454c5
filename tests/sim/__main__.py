"""python -m tests.sim --seeds 0:200 [--faults NAME,NAME] [--verbose] | --seed N

Runs whole cases, each from one seed, and checks each; exits 1 and names the seeds that failed. `--seed N`
runs one again exactly and prints everything that happened in it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.sim.plan import FAULTS, draw
from tests.sim.world import Result, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__.split("\n\n")[1])
    parser.add_argument("--seeds", default="0:200", metavar="A:B", help="run seeds A to B-1 (default 0:200)")
    parser.add_argument("--seed", type=int, metavar="N", help="run one seed and print its trace")
    parser.add_argument(
        "--faults", default="", metavar="NAME,...", help=f"exactly these faults: {', '.join(FAULTS)}"
    )
    parser.add_argument("--verbose", action="store_true", help="a line for each seed")
    options = parser.parse_args()
    only = tuple(name.strip() for name in options.faults.split(",") if name.strip())
    if unknown := set(only) - set(FAULTS):
        parser.error(f"there is no fault {sorted(unknown)[0]!r}; there are {', '.join(FAULTS)}")
    if options.seed is not None:
        return _one(options.seed, only)
    first, _, last = options.seeds.partition(":")
    return _many(range(int(first), int(last or int(first) + 1)), only, options.verbose)


def _one(seed: int, only: tuple[str, ...]) -> int:
    result = run(seed, draw(seed, only))
    print("\n".join(result.lines))
    print(_line(result))
    for fault in result.faults:
        print("  WRONG:", fault)
    return int(bool(result.faults))


def _line(r: Result) -> str:
    mark = "WRONG" if r.faults else "ok"
    faults = ", ".join(r.plan.faults) or "no faults"
    return (
        f"seed {r.seed:6d}  {mark:5s}  {r.outcome:16s} {r.seconds:7.0f} s  {r.transactions:4d} tx "
        f"{r.messages:5d} messages {r.crashes:2d} restarts  {r.hash[:8]}  {faults}"
    )


def _many(seeds: range, only: tuple[str, ...], verbose: bool) -> int:
    outcomes: Counter[str] = Counter()
    used: Counter[str] = Counter()
    failed: list[Result] = []
    start = time.process_time()
    totals = Counter[str]()
    for done, seed in enumerate(seeds, 1):
        result = run(seed, draw(seed, only))
        outcomes[result.outcome] += 1
        used.update(result.plan.faults or ["none"])
        totals.update(tx=result.transactions, messages=result.messages, restarts=result.crashes)
        if result.faults:
            failed.append(result)
        if verbose or result.faults:
            print(_line(result), flush=True)
            for fault in result.faults:
                print("  WRONG:", fault, flush=True)
        elif done % 25 == 0:
            print(f"{done} of {len(seeds)} seeds, {time.process_time() - start:.0f} s", flush=True)
    seconds = time.process_time() - start
    print(f"\n{len(seeds)} seeds in {seconds:.0f} s of processor time: {totals['tx']} transactions,")
    print(f"{totals['messages']} messages, {totals['restarts']} restarts\n")
    print("outcome              runs        fault                runs")
    rows = max(len(outcomes), len(used))
    left = [f"{name:20s} {n:4d}" for name, n in outcomes.most_common()] + [" " * 25] * rows
    right = [f"{name:20s} {n:4d}" for name, n in used.most_common()] + [""] * rows
    for row in range(rows):
        print(f"{left[row]}        {right[row]}".rstrip())
    if failed:
        print(f"\nfailed: {', '.join(str(r.seed) for r in failed)}")
        print(
            f"replay with: python -m tests.sim --seed {failed[0].seed}"
            + (f" --faults {','.join(only)}" if only else "")
        )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
