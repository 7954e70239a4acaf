"""Writing converted packages: whole, or not at all.

A package grows in a hidden directory beside its place, every file and directory is fsynced, and one rename makes it
visible. Whatever interrupts this before the rename leaves nothing that could be taken for a package; what a killed
run left is removed by the next one.

A package directory holds one version. model.toml, labels, golden samples, card and provenance belong to all versions
in a directory, and the registry never lets a version change: a second version beside the first could neither bring
its own of them, nor do with those of the first. So a place that is taken is refused; the registry brings versions
together (`appliance models add` for each).
"""

import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from appliance.convert.conversion import Conversion
from appliance.convert.foreign_errors import is_no_space
from appliance.convert.package.model_files import Content
from appliance.convert.package.package_content import package_content
from appliance.convert.package.scratch import scratch_directory
from appliance.convert.package.served_graph import package_name
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.report.report_numbers import size_text
from appliance.convert.request import ConversionRequest
from appliance.durable import copy_hashed, fsync_directory
from appliance.errors import Failed
from appliance.registry.package import read_package

Tell = Callable[[str], None]

_SPARE_BYTES = 64 * 1024  # for directories
_BLOCK_BYTES = 4096  # what even a small file takes
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})


def write_packages(conversion: Conversion, pages: Mapping[str, bytes], tell: Tell, *, when: str) -> list[Path]:
    """Write the package at request.out, and return where it is.

    A directory's name is its model's: an encoder and a decoder, or a model with another name, lie inside request.out.
    pages: file name -> content, into every package. when: the moment of the conversion, in words.
    Raises ConversionRefused (EXISTS, DISK_FULL) and Failed.
    """
    out = conversion.request.out.absolute()
    require_free_place(conversion.request)
    folders = _folders(conversion)
    contents = {
        f"{folder}{path}": content
        for graph, folder in zip(conversion.exported.graphs, folders, strict=True)
        for path, content in package_content(conversion, graph, pages, tell, when).items()
    }
    tell(f"writing {conversion.request.out}")
    with _disk_errors(conversion.request, contents), scratch_directory(out.parent) as scratch:
        _require_room(conversion.request, scratch, contents)
        whole = scratch / out.name
        _write(contents, whole)
        for graph, folder in zip(conversion.exported.graphs, folders, strict=True):
            read_package(whole / folder, package_name(conversion, graph))  # what no box could read is never shown
        _publish(conversion.request, whole, out)
    return [out / folder for folder in folders]


def require_free_place(request: ConversionRequest) -> None:
    """Refuse a place that is taken, with the next command. Worth asking before all the work, too."""
    out = request.out.absolute()
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise _taken(request)


def _folders(conversion: Conversion) -> list[str]:
    """Where each package lies below request.out: '' or 'NAME-encoder/'. One rename publishes both of a pair."""
    names = [package_name(conversion, graph) for graph in conversion.exported.graphs]
    return [""] if names == [conversion.request.out.absolute().name] else [f"{name}/" for name in names]


def _write(contents: Mapping[str, Content], whole: Path) -> None:
    directories = {whole}
    for path, content in contents.items():
        target = whole / path
        target.parent.mkdir(parents=True, exist_ok=True)
        directories.update(parent for parent in target.parents if parent.is_relative_to(whole))
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as stream:
            copy_hashed(stream, target, mode=None)
    for directory in directories:
        fsync_directory(directory)


def _publish(request: ConversionRequest, whole: Path, out: Path) -> None:
    try:
        whole.rename(out)  # takes the place of an empty directory, never of anything else
    except OSError as error:
        if error.errno in _TAKEN:  # somebody was quicker
            raise _taken(request) from error
        raise
    fsync_directory(out.parent)


def _require_room(request: ConversionRequest, scratch: Path, contents: Mapping[str, Content]) -> None:
    needed_bytes, free_bytes = _needed_bytes(contents), shutil.disk_usage(scratch).free
    if free_bytes < needed_bytes:
        raise _full(request, needed_bytes, free_bytes, os.strerror(errno.ENOSPC))


def _needed_bytes(contents: Mapping[str, Content]) -> int:
    sizes = [content.stat().st_size if isinstance(content, Path) else len(content) for content in contents.values()]
    return _SPARE_BYTES + sum(-(-size // _BLOCK_BYTES) * _BLOCK_BYTES for size in sizes)


@contextmanager
def _disk_errors(request: ConversionRequest, contents: Mapping[str, Content]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_no_space(error):
            place = next(parent for parent in request.out.absolute().parents if parent.exists())
            free_bytes = shutil.disk_usage(place).free
            raise _full(request, _needed_bytes(contents), free_bytes, error.strerror or "") from error
        raise Failed(
            f"{error.filename or request.out} cannot be written: {error.strerror}",
            hint="name a place where you may write: --out DIR",
        ) from error


def _taken(request: ConversionRequest) -> ConversionRefused:
    elsewhere = request.out.parent / f"version-{request.version}" / request.out.name
    return ConversionRefused(
        Reason.EXISTS,
        f"{request.out} is there already: found a file or a directory with content, expected a free place",
        hint=f"every version gets a directory of its own, such as --out {elsewhere}; the registry joins them",
    )


def _full(request: ConversionRequest, needed_bytes: int, free_bytes: int, said: str) -> ConversionRefused:
    return ConversionRefused(
        Reason.DISK_FULL,
        f"no room for the package at {request.out} ({said}): "
        f"{size_text(needed_bytes)} needed, {size_text(free_bytes)} free",
        hint="make room, or name a place on a larger disk: --out DIR",
    )
