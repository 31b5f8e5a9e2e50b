"""Every setting of a layer with learnable strides, and what to change it to after construction.

They are changed one after the other, in this order, and stay changed. Each changes the output, but
for the method.
"""

STRIDES = (2.6, 1.7)
START = {"ramp": "inside"}
CHANGES = {
    "multiple_of": 4,
    "norm": "ortho",
    "smoothness": 1.5,
    "ramp": "outside",
    "method": "fft",
    "crop": False,
    # From here on sizes stay.
    "upper": 2.2,
    "lower": 1.9,
}

# Settings that are refused, and the message for each; "axes" are those of two axes.
REFUSED = [
    ("lower", 0.5, r"lower, upper: got 0\.5 and .*; allowed: 1 <= lower <= upper"),
    ("lower", float("nan"), r"lower, upper: got nan"),
    ("lower", "a", r"lower, upper: got 'a' and .*; allowed: 1 <= lower"),
    ("upper", 0.5, r"lower, upper: got .* and 0\.5; allowed: 1 <= lower <= upper"),
    ("axes", (1, 1), r"axes: got \(1, 1\); allowed: 2 different integers"),
    ("axes", (1, 2, 3), r"axes: got \(1, 2, 3\); allowed: 2 different integers"),
    ("axes", (1.5, 2.5), r"axes: got \(1\.5, 2\.5\); allowed: 2 different integers"),
    ("smoothness", -1.0, r"smoothness: got -1\.0; allowed: a finite number"),
    ("ramp", "beside", r"ramp: got 'beside'; allowed: 'inside', 'outside'"),
    ("norm", "l2", r"norm: got 'l2'; allowed: 'forward', 'ortho', 'backward'"),
    ("method", "dct", r"method: got 'dct'; allowed: 'auto', 'matmul', 'fft'"),
    ("multiple_of", 0, r"multiple_of: got 0; allowed: an integer of at least 1"),
]
