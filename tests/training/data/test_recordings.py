"""Recordings from files: length, rate, channels, and files that cannot be used."""

import io

import numpy as np
import pytest
import soundfile
import torch

from spectral_stride.torch.training.data import recordings as audio
from spectral_stride.torch.training.data.open import open_data
from spectral_stride.torch.training.data.samples import BadFileError
from tests.training.data.made import RATE, audio_table, refused, tone, wav, write


def test_recordings_in_parquet_are_centred_cut_and_scaled(tmp_path):
    short, long = tone(0, RATE // 4), tone(1, 2 * RATE)
    table = audio_table([wav(short), wav(long)] * 2)
    data = open_data(write(tmp_path / "x", train=table, test=table), 2, 0)
    assert data.sample_shape == (RATE,)
    assert data.sample_rate == RATE
    assert data.tasks == {"digit": 2, "speaker": 2}
    assert data.mean.tolist() == [0]
    assert data.std.tolist() == [1]
    waves, labels = data.train_set.tensors
    assert waves.dtype == torch.float32
    assert labels.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    want = np.zeros(RATE, dtype=np.float32)
    want[3 * RATE // 8 : 5 * RATE // 8] = short
    np.testing.assert_allclose(waves[0], want, atol=1 / 2**15)
    np.testing.assert_allclose(waves[1], long[RATE // 2 : -RATE // 2], atol=1 / 2**15)
    assert data.notes[0].startswith("4 of 8 recordings are longer than 1 s, the longest 2.00 s")
    assert open_data(str(tmp_path / "x"), 2, 0, seconds=0.5).sample_shape == (400,)


@pytest.mark.parametrize(("more", "told"), [(1, "1.001250"), (4, "1.005000"), (8, "1.01")])
def test_what_is_longer_by_a_sample_is_told_to_a_sample(tmp_path, more, told):
    table = audio_table([wav(tone(row, RATE + more)) for row in range(2)])
    (note,) = open_data(write(tmp_path / "x", train=table, test=table), 2, 0).notes
    assert f"are longer than 1 s, the longest {told} s, and" in note


def test_recordings_decoded_when_asked_for_are_looked_at_for_their_lengths(tmp_path, monkeypatch):
    contents = [wav(tone(row, RATE + 8 * row)) for row in range(8)]
    table = audio_table(contents)
    name = write(tmp_path / "x", train=table, test=table.select(range(4)))
    (whole,) = open_data(name, 2, 0).notes
    assert whole.startswith("10 of 12 recordings are longer than 1 s, the longest 1.07 s")
    assert open_data(name, 2, 0, memory=100).notes == (whole,)
    monkeypatch.setattr(audio, "LOOKED_AT", 4)
    (note,) = open_data(name, 2, 0, memory=100).notes
    assert note == (
        "6 of 8 recordings that were looked at (of 12) are longer than 1 s, the longest 1.07 s, "
        "and their middle is used."
    )
    # The first row and the last alone are looked at.
    few = write(tmp_path / "y", train=table.select([0, *range(7), 0]), test=table.select([0, 0]))
    monkeypatch.setattr(audio, "LOOKED_AT", 2)
    (note,) = open_data(few, 2, 0, memory=100).notes
    assert note == (
        "None of 4 recordings that were looked at (of 11) are longer than 1 s; of those that are, "
        "the middle is used."
    )


@pytest.mark.parametrize(("kind", "ending"), [("WAV", ".wav"), ("FLAC", ".flac")])
def test_recordings_in_class_folders_with_channels_averaged(tmp_path, kind, ending):
    stereo = np.stack([tone(0), tone(1)], axis=1)
    for name in ("no", "yes"):
        (tmp_path / name).mkdir()
        for index in range(5):
            (tmp_path / name / f"{index}{ending}").write_bytes(wav(stereo, kind=kind))
    data = open_data(str(tmp_path), 2, 0)
    assert data.tasks == {"label": 2}
    assert (len(data.train_set), len(data.test_set)) == (8, 2)
    np.testing.assert_allclose(data.train_set[0][0], stereo.mean(1), atol=1 / 2**15)
    lazy = open_data(str(tmp_path), 2, 0, memory=100)
    assert torch.equal(lazy.train_set[5][0], data.train_set[5][0])
    assert torch.equal(lazy.train_set[5][1], data.train_set[5][1])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (wav(tone(1))[:-200], r"cut off: 1444 of 1644 bytes"),
        (wav(tone(1), kind="FLAC")[:-200], "row 1 of split 'train', which"),
        (wav(tone(1), kind="AIFF")[:-200], r"cut off: 1454 of 1654 bytes"),
        (wav(tone(1), endian="BIG")[:-200], r"cut off: 1444 of 1644 bytes"),
        (wav(tone(1))[:30], "cut off"),
        (b"no sound", r"cannot be decoded \(Format not recognised"),
        (b"", "which is empty"),
        (wav(tone(1)[:0]), "without a sample"),
        (wav(np.array([0, np.nan] * 9, np.float32), subtype="FLOAT"), "no finite number, number 1"),
        (wav(tone(1), 2 * RATE), "1600 samples a second, while .*row 0 .* has 800"),
    ],
)
def test_recordings_that_cannot_be_used_are_named_by_row(tmp_path, content, match):
    table = audio_table([wav(tone(0)), content, wav(tone(2)), wav(tone(3))])
    name = write(tmp_path / "x", train=table, test=audio_table([wav(tone(0))] * 2))
    assert "row 1 of split 'train'" in refused(name, match)


def test_all_recordings_that_cannot_be_used_are_told_at_once(tmp_path):
    good = wav(tone(0))
    table = audio_table([b"no sound", good, wav(tone(1))[:-200], good])
    name = write(tmp_path / "x", train=table, test=audio_table([good, b""]))
    rows = ("row 0 of split 'train'", "row 2 of split 'train'", "row 1 of split 'test'")
    for line, row in zip(refused(name, "row", faults=3).splitlines(), rows, strict=True):
        assert f"{row}, which " in line
    table = audio_table([good, wav(tone(1), 2 * RATE), b"no sound", good])
    name = write(tmp_path / "y", train=table, test=table)
    refused(name, "1600 samples a second, .*\n.*row 2 of split 'train'", faults=4)
    refused(name, "1600 samples a second, .*\n.*row 2 of split 'train'", faults=4, memory=100)


@pytest.mark.parametrize(
    ("size", "data", "frames"),
    [
        (0x7FFFF024, 0x7FFFF000, None),
        (0x80000024, 0x80000000, None),
        (0xFFFFFFFF, 0xFFFFFFFF, None),
        (0x7F00002E, 0x7F000008, 0x3F800000),
    ],
)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("kind", ["WAV", "AIFF"])
def test_what_came_out_of_a_pipe_is_read_whole(kind, subtype, size, data, frames):
    """Its header states the most that the program could say, for want of the truth."""
    samples = tone(0)
    content = bytearray(wav(samples, subtype=subtype, kind=kind))
    order, name = ("little", b"data") if kind == "WAV" else ("big", b"SSND")
    for place, value in ((4, size), (content.index(name) + 4, data)):
        content[place : place + 4] = value.to_bytes(4, order)
    if kind == "AIFF":
        place = content.index(b"COMM") + 10
        content[place : place + 4] = (frames or data // 2).to_bytes(4, order)
    wave, rate = audio._read(bytes(content))
    assert (len(wave), rate) == (RATE, RATE)
    np.testing.assert_allclose(wave, samples, atol=1 / 2**15)


def test_flac_that_came_out_of_a_pipe_is_read_whole():
    """It states no number of samples, and cannot be sought in."""
    content = bytearray(wav(tone(0, 70_000), kind="FLAC"))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    wave, _ = audio._read(bytes(content))
    np.testing.assert_allclose(wave, tone(0, 70_000), atol=1 / 2**15)
    with pytest.raises(BadFileError):
        audio._read(bytes(content[:-200]))


@pytest.mark.parametrize(
    ("kind", "subtype", "block"),
    [
        ("WAV", "GSM610", 320),
        ("WAV", "G721_32", 120),
        ("AU", "G723_24", 120),
        *(("WAV", f"NMS_ADPCM_{bits}", 160) for bits in (16, 24, 32)),
    ],
)
@pytest.mark.parametrize("length", [1001, 70_001])
def test_codecs_that_cannot_be_sought_in_are_read_whole(kind, subtype, block, length):
    """To the end of the last block, which may be one of padding."""
    samples = np.sin(0.2 * np.arange(length)).astype(np.float32) / 2
    content = wav(samples, 8000, subtype, kind)
    wave, _ = audio._read(content)
    assert 0 <= len(wave) - length < 2 * block
    assert len(wave) == soundfile.info(io.BytesIO(content)).frames
    assert np.corrcoef(wave[:length], samples)[0, 1] > 0.95


def test_a_damaged_recording_says_nothing_but_its_line(capfd):
    """Not what a callback raises that is sent before the first byte."""
    rng, said = np.random.default_rng(0), 0
    whole = [wav(tone(0, 99), kind=kind) for kind in ("WAV", "AIFF", "AU", "CAF", "W64", "VOC")]
    for _ in range(300):
        content = bytearray(whole[rng.integers(len(whole))])
        for place in rng.integers(0, 80, 3):
            content[place] = rng.integers(0, 256)
        try:
            audio._read(bytes(content))
        except BadFileError:
            said += 1
    assert said > 50
    assert capfd.readouterr() == ("", "")


def test_an_ogg_file_that_is_cut_off_anywhere_is_refused():
    """libsndfile reads it as a shorter recording."""
    whole = wav(tone(0, 8000), 8000, "VORBIS", "OGG")
    assert len(audio._read(whole)[0]) == 8000
    assert len(audio._read(whole + b"a tag behind the last page")[0]) == 8000
    pages = [start for start in range(len(whole)) if whole.startswith(b"OggS\0", start)]
    assert len(pages) > 2
    cuts = {len(whole) - 1, len(whole) - 500, *range(pages[-1] - 3, pages[-1] + 40), pages[-2] + 99}
    for cut in cuts:
        with pytest.raises(BadFileError) as caught:
            audio._read(whole[:cut])
        assert caught.value.wrong == f"which is cut off after {cut} bytes"
