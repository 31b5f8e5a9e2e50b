"""``make fuzz``: calls and files at random, for some time, and what came of them."""

import argparse
import random
import resource
import sys
import warnings

from tests.fuzz import calls, files, layers
from tests.fuzz.running import run, table

# A call that takes more is a fault with a name, and does not end the process without a word.
MOST_MEMORY = 16 * 2**30


def main():
    """Run all targets, or some, and return the exit code: 1 where a fault was found."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="in all")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only", default="", help="targets whose names have these words")
    parser.add_argument("--turns", type=int, help="of each target, in place of the seconds")
    words = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, resource.RLIM_INFINITY))
    warnings.simplefilter("ignore")  # what the library warns of while it is called is an error
    with files.targets() as of_files:
        known = [*calls.targets(), *layers.targets(), *of_files]
        chosen = [one for one in known if words.only == one.name]
        chosen = chosen or [one for one in known if words.only in one.name]
        if not chosen:
            names = ", ".join(one.name for one in known)
            parser.error(
                f"--only: got {words.only!r}; allowed: a part of one of {names}; "
                "instead: leave it out"
            )
        print(f"{len(chosen)} targets, seed {words.seed}", flush=True)
        faults = run(chosen, words.seconds, words.seed, words.turns)
    print(table(chosen))
    print(f"{len(faults)} faults" + "".join(f"\n  {one.name}" for one in faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
