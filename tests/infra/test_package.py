"""The deployable package: what .funcignore lists, no more, and the same bytes whoever makes it."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from infra import package
from tests.environments import ROOT
from tests.worker.test_package import AT_THE_TOP, GOES_ALONG, LEFT_BEHIND, needed

LARGEST = 3_000_000
"""Bytes of the package at most: a cold start fetches it."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with what the app needs, and much of what lies beside it once somebody has worked in it."""
    for name in (".funcignore", *AT_THE_TOP, *needed(), *LEFT_BEHIND, *GOES_ALONG):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name in LEFT_BEHIND + GOES_ALONG:
            (tmp_path / name).write_text("secret")
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_package_holds_what_the_app_needs_and_nothing_else(clone: Path) -> None:
    assert set(package.list_files(clone)) == AT_THE_TOP | needed()


def test_the_package_has_the_same_bytes_whenever_it_is_made(clone: Path, tmp_path: Path) -> None:
    files = package.list_files(clone)
    package.write(clone, files, tmp_path / "one.zip")
    for name in files:
        os.utime(clone / name, (0, 0))
        (clone / name).chmod(0o700)
    package.write(clone, package.list_files(clone), tmp_path / "two.zip")
    content = (tmp_path / "one.zip").read_bytes()
    assert content == (tmp_path / "two.zip").read_bytes()
    assert len(content) <= LARGEST


def test_the_package_has_what_azure_reads_at_its_top_and_no_test_or_local_tool(clone: Path, tmp_path: Path) -> None:
    package.write(clone, package.list_files(clone), tmp_path / "one.zip")
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert set(names) >= AT_THE_TOP
    assert not [name for name in names if name.startswith(("tests/", "infra/", ".")) or "README" in name]


def test_the_reference_says_how_large_the_package_is(clone: Path, tmp_path: Path) -> None:
    files = package.list_files(clone)
    package.write(clone, files, tmp_path / "one.zip")
    (size, number) = re.findall(
        r"lists, ([\d.]+) MB in some (\d+) files", (ROOT / "infra/README.md").read_text("utf-8")
    )[0]
    assert float(size) == pytest.approx((tmp_path / "one.zip").stat().st_size / 1e6, rel=0.1)
    assert int(number) == pytest.approx(len(files), rel=0.1)
