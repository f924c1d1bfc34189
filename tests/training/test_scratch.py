"""Small arrays lie in memory, large ones in files that go with the run; the settings say which and where."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from include.settings import SettingError
from include.training.scratch import (
    FOLDER_SETTING,
    MEMORY_SETTING,
    Portable,
    Scratch,
    memory,
    scratch_from_environment,
)


def test_only_what_is_larger_than_the_limit_lies_in_files(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, limit=800)
    assert not isinstance(scratch.allocator(800)((100,), np.float64), np.memmap)
    large = scratch.allocator(801)
    one, two = large((100,), np.float64), large((3, 2), "datetime64[D]")
    assert (one.shape, two.dtype) == ((100,), np.dtype("datetime64[D]"))
    assert len(list(tmp_path.iterdir())) == 2


def test_files_go_to_another_process_by_name_and_stay_as_they_were(tmp_path: Path) -> None:
    array = Scratch(tmp_path, 0).allocator(1)((1000, 50), np.float32)
    array[:] = np.arange(50_000).reshape(1000, 50)
    packed = pickle.dumps(Portable.of(array[:900]))
    assert len(packed) < 1000
    opened = pickle.loads(packed).open()  # noqa: S301
    np.testing.assert_array_equal(opened, array[:900])
    opened[0, 0] = -1
    assert array[0, 0] == 0
    plain = np.arange(3)
    np.testing.assert_array_equal(Portable.of(plain).open(), plain)


def test_the_settings_say_how_much_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_SETTING, str(tmp_path))
    monkeypatch.setenv(MEMORY_SETTING, "2")
    with scratch_from_environment() as scratch:
        assert (scratch.folder.parent, scratch.limit) == (tmp_path, 2 << 20)
        scratch.allocator(3 << 20)((10,), np.float64)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv(MEMORY_SETTING, "much")
    with pytest.raises(SettingError, match="LAMBDA_DL_TRAINING_MEMORY_MIB"), scratch_from_environment():
        pass
    monkeypatch.setenv(FOLDER_SETTING, str(tmp_path / "none"))
    with pytest.raises(SettingError, match="no folder"), scratch_from_environment():
        pass


def test_a_container_has_no_more_memory_than_it_is_given(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    machine = memory([limit])  # no such file: no container
    assert machine > 2 << 20
    for text, found in (("2097152\n", 2 << 20), ("max\n", machine), ("9223372036854771712\n", machine)):
        limit.write_text(text)
        assert memory([limit, tmp_path / "none"]) == found
