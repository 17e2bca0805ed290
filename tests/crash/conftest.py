"""Fixtures of the crash tests."""

from collections.abc import Generator
from pathlib import Path

import pytest

from crash.scene import Scene, scene_in


@pytest.fixture
def scene(database_url: str, tmp_path: Path) -> Generator[Scene]:
    with scene_in(database_url, tmp_path) as scene:
        yield scene
