import psutil

from lft_ray.cluster import memory
from lft_ray.cluster.memory import OomWatch, memory_there, oom_kills


def test_kills_are_read_from_the_group_of_this_process_or_else_from_the_machine(tmp_path, monkeypatch):
    events = tmp_path / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n")
    monkeypatch.setattr(memory, "_folders", lambda: [tmp_path])
    watch = OomWatch()
    assert (oom_kills(), watch.look()) == (2, 0)
    events.write_text("oom 4\noom_kill 5\n")
    assert [watch.look(), watch.look()] == [3, 0]
    events.unlink()
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n")
    assert oom_kills() == 7


def test_the_memory_of_a_container_is_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_folders", lambda: [tmp_path])
    assert memory_there() == psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_there() == psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("1500000000\n")
    assert memory_there() == 1.5e9
    (tmp_path / "memory.max").unlink()
    (tmp_path / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")
    assert memory_there() == psutil.virtual_memory().total


def test_both_versions_of_control_groups_are_found():
    # The groups of this very process: their parents up to the root, which is a container's own group.
    assert all(memory._GROUPS in (folder, *folder.parents) for folder in memory._folders())
