"""A few frames out of whatever holds a video. Of a file only what is needed is decoded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adaptkit.errors import DataError, UnavailableError
from adaptkit.modalities.arrays import kept

# F frames, H height, W width, C channels

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"}


def read_frames(value: Any, limit: int | None, keep: str, *, name: str, where: str) -> list[Any]:
    """The frames that are kept, each in a form that `read_image` takes, in their order.

    Args:
        value: the path of a video, the path of a folder of images (sorted, frame2 before frame10), or an array
            (F, H, W, C), (F, C, H, W) or (F, H, W).
        limit: how many at most.
        keep: which: `even`, `first`, `middle` or `last`.
        name: of the modality.
        where: place of the value, for errors.

    Raises:
        DataError: no video, none in it, or one that is cut off.
        UnavailableError: a video file, without PyAV.
    """
    if isinstance(value, str | Path):
        path = Path(value)
        if path.is_dir():
            images = _images(path, name, where)
            return [images[i] for i in kept(len(images), limit, keep)]
        return _Video(path, name, where).frames(limit, keep)
    array = _array(value, name, where)
    return [array[i] for i in kept(len(array), limit, keep)]


def frames_length(value: Any, *, name: str, where: str) -> int:
    """F of the whole video; of a file without decoding it.

    Raises:
        DataError: as `read_frames`.
    """
    if isinstance(value, str | Path):
        path = Path(value)
        return len(_images(path, name, where) if path.is_dir() else _Video(path, name, where).times()[0])
    return len(_array(value, name, where))


def _images(folder: Path, name: str, where: str) -> list[Path]:
    images = [file for file in folder.iterdir() if file.suffix.lower() in IMAGES and file.is_file()]
    if not images:
        raise DataError(f"{name}: the folder {folder} has no images.", where=where)
    return sorted(images, key=lambda file: [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", file.name)])


def _array(value: Any, name: str, where: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0)
    if array.ndim not in (3, 4) or not len(array) or array.dtype.kind not in "fiu":
        message = f"{name} has shape {array.shape}; expected (F, H, W, C), (F, C, H, W) or (F, H, W) numbers."
        raise DataError(message, where=where)
    return array


class _Packet(NamedTuple):
    """A frame in a file: of which stream, shown when and decoded when, in units of so many seconds."""

    stream: int
    pts: Any
    dts: Any
    base: Any
    key: bool
    discarded: bool


class _Video:
    """A file. First its packets are listed, which tells the time of every frame and where decoding can start; then
    only the stretches between such a start and a wanted frame are decoded."""

    def __init__(self, path: Path, name: str, where: str) -> None:
        self.path, self.name, self.where = path, name, where
        if not path.is_file():
            raise DataError(f"{name}: the file {path} does not exist.", where=where)

    def times(self) -> tuple[list[int], list[tuple[int, int]]]:
        """When each frame is shown, increasing; and when those are shown and decoded at which decoding can start.

        Where the file does not state times, frames are counted. AVI files are decoded from the first frame on: what
        they say of key frames is not to be relied on.
        """
        with self._stream() as stream:
            # Not the packets themselves: they hold the whole film.
            every = [
                _Packet(p.stream.index, p.pts, p.dts, p.time_base, p.is_keyframe, p.is_discard)
                for p in stream.container.demux()
                if p.size
            ]
            index, count, length = stream.index, stream.frames, (stream.container.duration or 0) / 1e6
            seeks = stream.container.format.name != "avi"
        packets = [packet for packet in every if packet.stream == index]
        if len(packets) < count:
            raise self._error(f"it is cut off, {len(packets)} of {count} frames are there")
        end = max((float(packet.pts * packet.base) for packet in every if packet.pts is not None), default=0.0)
        if not count and end < 0.9 * length - 1:  # MKV tells only how long it is
            raise self._error(f"it is cut off after {end:.1f} of {length:.1f} seconds")
        shown = [packet for packet in packets if not packet.discarded]
        if not shown:
            raise self._error("it has no frames")
        if any(packet.pts is None for packet in shown):
            return list(range(len(shown))), []
        keys = [packet for packet in shown if packet.key and packet.dts is not None and seeks]
        return sorted(packet.pts for packet in shown), [(packet.pts, packet.dts) for packet in keys]

    def frames(self, limit: int | None, keep: str) -> list[np.ndarray]:
        """(H, W, 3) of 0..255 each."""
        times, starts = self.times()
        found: list[np.ndarray] = []
        with self._stream() as stream:
            decoded, position = self._decoded(stream), times[0]
            for index in kept(len(times), limit, keep):
                time = times[index]
                start, when = max((s for s in starts if s[0] <= time), default=(times[0], 0))
                if start > position:  # nearer than where decoding has come to
                    stream.container.seek(when, stream=stream)
                    decoded = self._decoded(stream)
                # Without any start all frames are decoded, so they can be counted.
                shown = (f for n, f in decoded if (f.pts is not None and f.pts >= time if starts else n == index))
                if (frame := next(shown, None)) is None:
                    raise self._error("it is cut off")
                found.append(frame.to_ndarray(format="rgb24"))
                position = time
        return found

    def _decoded(self, stream: Any) -> Iterator[tuple[int, Any]]:
        """The frames from where the file stands, counted."""
        return enumerate(stream.container.decode(stream))

    @contextmanager
    def _stream(self) -> Iterator[Any]:
        """The first video stream of the opened file."""
        try:
            import av
            from av.error import FFmpegError
        except ImportError:
            hint = 'Run pip install "adaptkit[video]", or give a folder of frames.'
            raise UnavailableError(f"{self.name}: reading a video needs PyAV.", where=self.where, hint=hint) from None
        try:
            # An opened file, and no protocol for others: playlists (HLS, concat) name files and addresses to read.
            with self.path.open("rb") as file, av.open(file, options={"protocol_whitelist": "none"}) as container:
                if not container.streams.video:
                    raise self._error("it has no picture")
                yield container.streams.video[0]
        except FFmpegError as error:
            raise self._error(error.strerror or str(error)) from None

    def _error(self, what: str) -> DataError:
        return DataError(f"{self.name}: {self.path} is not a readable video: {what}.", where=self.where)
