"""Resample an array that is larger than a worker's memory, on the cluster that trains, too.

::

    python docs/examples/dask_cluster.py                    # a gigabyte, on 2 workers of 600 MB
    python docs/examples/dask_cluster.py --vjp              # with the gradients
    python docs/examples/dask_cluster.py --scheduler tcp://HOST:8786
"""

import argparse
import time
from contextlib import ExitStack
from typing import Any

import dask
import dask.array as da
from distributed import Client, LocalCluster

import spectral_stride as ss

STRIDES = (2.5, 2.0)


def images(count: int, side: int, at_once: int) -> da.Array:
    """Random images, of shape (count, side, side), that workers make as they need them."""
    rng = da.random.default_rng(0)
    shape, chunks = (count, side, side), (at_once, side, side)
    return rng.standard_normal(shape, chunks=chunks, dtype="float32")


def resampled(x: da.Array) -> dict[str, da.Array]:
    """Small numbers that take all of the images to compute; the mean stays what it was."""
    y = ss.diffstride(x, STRIDES)
    return {"mean before": x.mean(), "mean after": y.mean()}


def differentiated(x: da.Array) -> dict[str, da.Array]:
    """The same, and the gradients of half of the sum of the squares of what comes out."""
    y, pullback = ss.vjp(x, STRIDES)
    dx, dstrides = pullback(y)
    return {
        "mean before": x.mean(),
        "mean after": y.mean(),
        "mean of dx": dx.mean(),
        "dstrides": dstrides,
    }


def main(words: list[str] | None = None) -> dict[str, Any]:
    """Run on a cluster of its own, or on one that runs already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--at-once", type=int, default=32, help="images in a chunk")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", default="600MB", help="of a worker")
    parser.add_argument("--scheduler", help="tcp://HOST:PORT of a cluster that runs")
    parser.add_argument("--vjp", action="store_true", help="the gradients too")
    asked = parser.parse_args(words)
    with ExitStack() as stack:
        cluster = asked.scheduler or stack.enter_context(
            LocalCluster(
                n_workers=asked.workers,
                threads_per_worker=1,
                memory_limit=asked.memory,
                dashboard_address="127.0.0.1:0",
            )
        )
        client = stack.enter_context(Client(cluster))
        print(f"Dashboard  {client.dashboard_link}")
        x = images(asked.images, asked.side, asked.at_once)
        print(f"{x.nbytes / 1e6:.0f} MB in {x.npartitions} chunks")
        begun = time.perf_counter()
        (found,) = dask.compute(differentiated(x) if asked.vjp else resampled(x))
        print(f"{time.perf_counter() - begun:.1f} s")
    for name, value in found.items():
        print(f"{name:>12}  {value}")
    return found


if __name__ == "__main__":
    main()
