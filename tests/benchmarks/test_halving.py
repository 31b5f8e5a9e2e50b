"""The comparison of ways to half the cost: each at half, each told, nothing trained twice."""

import json
from itertools import pairwise

import pytest
import torch

from benchmarks.accuracy import halving


def test_sizes_by_hand_fall_by_halves():
    found = list(halving._halved([32], 3))
    assert [32, 16, 8, 4] in found
    assert [32, 5, 2, 2] not in found  # 2 is one half of 5, but behind it no map may keep its size
    assert [32, 5, 3, 2] in found
    for sizes in found:
        assert all(abs(after - before / 2) < 1 for before, after in pairwise(sizes[1:]))


def test_by_hand_takes_the_largest_maps_within_the_cost():
    x = torch.randn(1, 3, 20, 20)
    net = halving.convert(halving.regnet(3, 10), x)
    half = halving.macs(halving.freeze(net, x), x) / 2
    fixed = halving.shrunk(net, x, half)
    assert not any(strides.requires_grad for strides in halving.strides_of(fixed))
    taken = halving.macs(halving.freeze(fixed, x), x)
    assert taken <= half
    others = [halving._with_sizes(net, sizes) for sizes in halving._halved([20], 3)]
    costs = [halving.macs(halving.freeze(other, x), x) for other in others]
    assert taken == max(cost for cost in costs if cost <= half)


def test_pruning_leaves_a_network_at_the_cost():
    x = torch.randn(1, 3, 32, 32)
    net = halving.regnet(3, 10).eval()
    before = halving.macs(net, x)
    fewer = halving.pruned(net, x, before / 2)
    assert 0.3 * before < halving.macs(fewer, x) <= before / 2
    assert fewer(x).shape == (1, 10)
    assert halving.macs(net, x) == before


@pytest.mark.long
# With the stem as it is two small maps are left to learn: their whole sizes leap over the target.
@pytest.mark.filterwarnings("ignore:MacBudget. no whole sizes were found")
def test_each_way_is_trained_once_and_costs_half(tmp_path, capsys):
    out = tmp_path / "halving.jsonl"
    words = ["--data=digits", "--limit=128", "--epochs=1", "--more-epochs=1", "--rounds=2"]
    words += ["--seeds=0", f"--out={out}"]
    halving.main(words)
    rows = {row["way"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert list(rows) == [
        halving.STRIDED,
        halving.WHOLE,
        halving.SMALLER,
        halving.PRUNED,
        halving.BY_HAND,
        halving.LEARNED,
        halving.BUT_THE_STEM,
    ]
    whole = rows[halving.WHOLE]["macs"]
    for way in list(rows)[2:]:
        most = 0.55 if rows[way]["strides"] and way != halving.BY_HAND else 0.5
        assert 0.4 * whole < rows[way]["macs"] <= most * whole, way
        assert rows[way]["latency"] > 0
    capsys.readouterr()
    halving.main(words)
    assert len(out.read_text().splitlines()) == len(rows)
    shown = capsys.readouterr().out
    assert "fewer channels" in shown
