"""What can happen to a file: bytes cut and flipped, fields replaced, links in its place."""

import json
import os
import struct

SECRET = "the words of a secret file"
# What a field of a file may hold that no training writes.
FIELDS = [None, True, False, 0, -1, 1, 2.5, 10**30, -(10**400), 1e308, float("nan"), float("inf")]
FIELDS += ["", "a", "nan", "1" * 5000, "a" * 10**5, "\ud800", "a\nb\x1b[31m", "::", "$HOME", "~"]
FIELDS += ["../outside/secret", "/dev/zero", "/", "digits", "[/]", "<b>", [], {}, [[]], [0], [None]]
FIELDS += [{"a": 1}, {"": None}, [1] * 1000, ["a"] * 100, [[[[]]]], "![x](../outside/secret)"]
NUMBERS = [b"\0" * 4, b"\xff" * 4, b"\xff" * 8, struct.pack("<q", 2**31), b"\x7f\xff\xff\xff"]
TEXTS = [b"", b"\0", b"{", b"[" * 10**5, b'{"a":' * 10**5, b"1" * 5000, b"\xff\xfe", b"null"]
TEXTS += [b"[]", b"{}", b"3", b'"a"', b"\xef\xbb\xbf{}", b"NaN", b"words\n" * 3, b"\0" * 10**6]


def some_bytes(rng, content):
    """Bytes with up to three things done to them."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        place, other = rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)
        first, last = min(place, other), max(place, other)
        how = rng.choice(
            ("flip", "flip", "flip", "cut", "lose", "repeat", "number", "noise", "all")
        )
        if how == "cut":
            content = content[:place]
        elif how == "lose":
            content = content[:first] + content[last:]
        elif how == "repeat":
            content = content[:last] + content[first:last] + content[last:]
        elif how == "number":
            number = rng.choice(NUMBERS)
            content = content[:place] + number + content[place + len(number) :]
        elif how == "noise":
            content = content[:first] + rng.randbytes(min(last - first, 64)) + content[last:]
        elif how == "all":
            content = rng.choice(TEXTS)
        elif content:
            changed = bytearray(content)
            for _ in range(rng.choice((1, 1, 4, 30))):
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            content = bytes(changed)
    return content


def fields(rng, content, odd=FIELDS):
    """Plain values in each other, with one or two replaced, lost, or added."""
    content = _copy(content)
    for _ in range(rng.choice((1, 1, 2))):
        places = list(_places(content))
        if not places:
            return rng.choice(odd)
        inner, key = rng.choice(places)
        how = rng.choice(("replace", "replace", "replace", "lose", "add", "swap"))
        if how == "replace":
            inner[key] = rng.choice(odd)
        elif how == "lose":
            del inner[key]
        elif how == "swap":
            other, place = rng.choice(places)
            inner[key], other[place] = _copy(other[place]), _copy(inner[key])
        elif isinstance(inner, dict):
            inner[rng.choice(("other", "", "\ud800", "a" * 300, "<<"))] = rng.choice(odd)
        else:
            inner.append(rng.choice(odd))
    return content


def _copy(value):
    if isinstance(value, dict):
        return {name: _copy(one) for name, one in value.items()}
    return [_copy(one) for one in value] if isinstance(value, list | tuple) else value


def _places(value):
    """Every place in lists and mappings that lie in each other."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def as_json(rng, content):
    """A file of JSON: its fields changed, or its bytes."""
    if rng.random() < 0.3:
        return some_bytes(rng, content)
    changed = fields(rng, json.loads(content))
    try:
        return json.dumps(changed).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError):
        return some_bytes(rng, content)


def place(rng, path, outside):
    """Put something that is no file in the place of one."""
    content = path.read_bytes() if path.is_file() else b""
    if path.exists():
        path.unlink()
    how = rng.choice(("missing", "folder", "pipe", "link", "circle", "device", "large", "nothing"))
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "link":
        target = outside / f"{path.name}-{rng.randrange(10**9)}"
        target.write_bytes(content)  # whole: who reads it notices nothing
        path.symlink_to(target)
    elif how == "circle":
        path.symlink_to(path)
    elif how == "device":
        path.symlink_to("/dev/zero")
    elif how == "large":
        with path.open("wb") as file:
            file.truncate(2**31)
    elif how == "nothing":
        path.write_bytes(b"")
