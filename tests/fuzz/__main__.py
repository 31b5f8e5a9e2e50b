"""``make fuzz``: calls and files at random, for some time, and what came of them."""

import argparse
import random
import sys

from tests.fuzz import calls
from tests.fuzz.running import TURN, run, table


def main():
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only", default="", help="targets whose names have these words")
    parser.add_argument("--turns", type=int, help="in place of the seconds")
    words = parser.parse_args()
    known = calls.targets()
    chosen = [one for one in known if words.only in one.name]
    if not chosen:
        names = ", ".join(one.name for one in known)
        parser.error(f"--only: got {words.only!r}; allowed: a part of one of {names}; "
                     "instead: leave it out")
    seconds = words.seconds if words.turns is None else 0.0
    print(f"{len(chosen)} targets, seed {words.seed}", flush=True)
    faults = run(chosen, seconds, words.seed, TURN)
    print(table(chosen))
    print(f"{len(faults)} faults" + "".join(f"\n  {one.name}" for one in faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
