"""Graphs of the embedded store: built beside searches and writes, and complete or absent after a kill at any moment."""

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from services.rag.tests.vectors.in_process import NAME, POINTS, InProcessVectors, points
from services.rag.tests.vectors.killed_in_phases import PHASES, copied, swapped
from services.rag.tests.vectors.test_vector_stores import INDEX, NEAR
from tidemill_rag.vectors import edge_graphs, edge_shards, generations, graph_builds
from tidemill_rag.vectors.build_graph import build
from tidemill_rag.vectors.edge import QdrantEdgeVectors
from tidemill_rag.vectors.graph_builds import GraphBuilds
from tidemill_rag.vectors.ports import Where

ROOT = Path(__file__).parents[4]


async def found(store: QdrantEdgeVectors) -> set[tuple[str, int]]:
    """Return document and `seq` of everything that a search finds."""
    matches = await store.search(INDEX, NEAR, limit=10 * POINTS, where=Where())
    return {(match.payload.document, match.payload.seq) for match in matches}


def builder(store: QdrantEdgeVectors) -> GraphBuilds:
    """Return a builder whose process has the usual priority: at the lowest one, a busy machine stops it."""
    code = "import sys; from tidemill_rag.vectors.build_graph import build; _, to, _, graph, _ = sys.argv; "
    code += "build(to, 2, graph=graph == '1')"
    return GraphBuilds(store, min_chunks=POINTS, command=(sys.executable, "-c", code))


async def has_graph(store: QdrantEdgeVectors) -> bool:
    return await store.call(_in_graph) > 0


def _in_graph() -> int:
    opened = edge_shards.open_shard(NAME)
    return opened.shard.info().indexed_vectors_count if opened else 0


def _recorded(
    asked: list[frozenset[str]], due: Callable[..., edge_graphs.Due | None], few: int, *, without: frozenset[str]
) -> edge_graphs.Due | None:
    asked.append(without)
    return due(few, without)


def folders(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


async def test_an_index_version_gets_a_graph_once_it_has_enough_points_and_keeps_them_all(
    store: QdrantEdgeVectors, tmp_path: Path
) -> None:
    builds = builder(store)
    await store.upsert(INDEX, points()[:-1])
    assert await builds.build_next()
    assert folders(tmp_path) == [NAME]

    await store.upsert(INDEX, points()[-1:])
    before = await found(store)
    assert await builds.build_next()

    assert folders(tmp_path) == [f"{NAME}.1"]
    assert await has_graph(store)
    assert await found(store) == before
    assert len(before) == POINTS
    assert await store.call(partial(edge_shards.indexed, NAME)) == ["document", "facets", "readers", "source"]


async def test_what_is_stored_and_deleted_while_a_graph_is_built_counts_afterwards(store: QdrantEdgeVectors) -> None:
    await store.upsert(INDEX, points())
    folder, _ = await store.call(partial(edge_graphs.begin, NAME))
    await store.call(partial(edge_graphs.copy, NAME))
    await store.upsert(INDEX, points(0, 40, seq=2))
    for number in range(20):
        await store.delete(INDEX, f"d{number}", below_seq=2)
    while await store.call(partial(edge_graphs.copy, NAME)):
        pass
    await store.delete(INDEX, "d250", below_seq=9)
    await store.delete(INDEX, "d251", below_seq=9)
    await store.upsert(INDEX, [*points(251, 252, seq=9), *points(POINTS, POINTS + 50)])
    assert build(folder, 2, graph=True)
    await store.delete(INDEX, "d252", below_seq=9)
    expected = await found(store)

    await swapped(store)

    assert await has_graph(store)
    assert await found(store) == expected
    assert {("d0", 2), ("d20", 1), ("d20", 2), ("d251", 9)} <= expected
    assert not {("d0", 1), ("d250", 1), ("d251", 1), ("d252", 1)} & expected
    assert await store.count(INDEX) == POINTS + 50 + 40 - 20 - 2


async def test_searches_and_writes_go_on_while_a_graph_is_built(tmp_path: Path) -> None:
    store = QdrantEdgeVectors(tmp_path)
    await store.create(INDEX, dimensions=2)
    await store.upsert(INDEX, points())
    running = asyncio.create_task(builder(store).build_next())
    written = POINTS
    while not running.done():
        await store.upsert(INDEX, points(written, written + 1))
        written += 1
        assert len(await found(store)) == written

    assert await running
    assert len(await found(store)) == written
    assert await has_graph(store)
    await store.close()


async def test_a_graph_is_built_again_after_a_quarter_has_changed_also_where_the_store_restarts_in_between(
    store: QdrantEdgeVectors, tmp_path: Path
) -> None:
    builds = builder(store)
    await store.upsert(INDEX, points())
    await builds.build_next()
    await store.upsert(INDEX, points(0, POINTS // 4 - 10, seq=1))
    await builds.build_next()
    assert folders(tmp_path) == [f"{NAME}.1"]

    await store.close()
    await store.upsert(INDEX, points(0, 10, seq=1))
    await builds.build_next()

    assert folders(tmp_path) == [f"{NAME}.2"]
    assert await store.count(INDEX) == POINTS


async def test_an_index_version_that_became_small_goes_back_to_exact_search(store: QdrantEdgeVectors) -> None:
    builds = builder(store)
    await store.upsert(INDEX, points())
    await builds.build_next()
    await store.delete(INDEX, "d0", below_seq=2)
    await store.upsert(INDEX, points(1, POINTS // 4 + 1))
    await builds.build_next()

    assert await store.count(INDEX) == POINTS - 1
    assert not await has_graph(store)


async def test_writes_never_build_a_graph_in_the_process_that_answers_searches(
    store: QdrantEdgeVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.upsert(INDEX, points())
    await builder(store).build_next()
    monkeypatch.setattr(edge_shards, "VACUUM_EVERY", 10)
    await store.upsert(INDEX, points(POINTS, 2 * POINTS))
    assert await store.call(_in_graph) == POINTS
    await store.close()

    assert await store.count(INDEX) == 2 * POINTS
    assert await store.call(_in_graph) == POINTS


async def test_a_dropped_index_version_ends_the_build_of_its_graph(store: QdrantEdgeVectors, tmp_path: Path) -> None:
    await store.upsert(INDEX, points())
    await copied(store)
    await store.drop(INDEX)

    assert not await store.call(partial(edge_graphs.building, NAME))
    with pytest.raises(edge_graphs.BuildGone):
        await store.call(partial(edge_graphs.catch_up, NAME))
    assert folders(tmp_path) == []
    await store.create(INDEX, dimensions=2)
    await store.call(edge_graphs.discard)
    assert await store.count(INDEX) == 0


async def test_a_copy_that_differs_is_never_used(store: QdrantEdgeVectors) -> None:
    await store.upsert(INDEX, points())
    assert build(await copied(store), 2, graph=True)
    await store.upsert(INDEX, points(POINTS, POINTS + 1))
    await store.call(_forget_changes)

    with pytest.raises(edge_graphs.BuildGone, match="300 points, the shard 301"):
        await swapped(store)
    assert await store.count(INDEX) == POINTS + 1


def _forget_changes() -> None:
    for changes in edge_shards.recorded:
        changes.stored.clear()


async def test_a_build_that_fails_leaves_the_shard_and_no_folder(store: QdrantEdgeVectors, tmp_path: Path) -> None:
    await store.upsert(INDEX, points())

    assert not await GraphBuilds(store, min_chunks=POINTS, command=("/bin/false",)).build_next()

    assert folders(tmp_path) == [NAME]
    assert len(await found(store)) == POINTS


async def test_a_shard_whose_build_failed_lets_others_have_theirs_and_is_due_again_later(
    store: QdrantEdgeVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[frozenset[str]]()
    monkeypatch.setattr(edge_graphs, "due", partial(_recorded, asked, edge_graphs.due))
    await store.upsert(INDEX, points())
    builds = GraphBuilds(store, min_chunks=POINTS, command=("/bin/false",))

    assert not await builds.build_next()
    assert await builds.build_next()  # there is no other one
    monkeypatch.setattr(graph_builds, "RETRY_PAUSE_S", 0.0)
    soon = GraphBuilds(store, min_chunks=POINTS, command=("/bin/false",))
    assert (await soon.build_next(), await soon.build_next()) == (False, False)

    assert asked == [frozenset(), frozenset({NAME}), frozenset(), frozenset()]


async def test_the_process_itself_builds_a_graph_too(store: QdrantEdgeVectors) -> None:
    await store.upsert(INDEX, points())

    assert await GraphBuilds(store, min_chunks=POINTS).build_next()

    assert await has_graph(store)


async def test_no_graph_is_built_on_a_full_disk(
    store: QdrantEdgeVectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_builds, "COPIES", 2**40)
    await store.upsert(INDEX, points())

    assert not await builder(store).build_next()
    assert folders(tmp_path) == [NAME]


async def test_files_that_vanish_while_the_disk_is_measured_hold_up_no_build(
    store: QdrantEdgeVectors, tmp_path: Path
) -> None:
    await store.upsert(INDEX, points())
    (tmp_path / NAME / "replaced").symlink_to("gone")  # listed, and not there when it is measured

    graph_builds._refuse_if_full(tmp_path, NAME)  # noqa: SLF001 - the whole build would copy the link


async def test_a_build_ends_when_the_disk_fills_up(
    store: QdrantEdgeVectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.upsert(INDEX, points())
    free = shutil.disk_usage(tmp_path)
    answers = iter([free])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: next(answers, free._replace(free=0)))

    assert not await builder(store).build_next()
    assert folders(tmp_path) == [NAME]


async def test_only_one_graph_is_built_at_a_time_on_a_machine(store: QdrantEdgeVectors, tmp_path: Path) -> None:
    await store.upsert(INDEX, points())

    with graph_builds.machine_lock() as free:
        assert free
        assert await builder(store).build_next()
    assert folders(tmp_path) == [NAME]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with what the killed process of each phase has left."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "services.rag.tests.vectors.killed_in_phases", str(folder)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=240)  # noqa: S603 - a test
    assert [int(status) for status in done.stdout.split()] == [-signal.SIGKILL] * len(PHASES)
    return folder


@pytest.mark.parametrize("phase", PHASES)
async def test_a_kill_in_any_phase_loses_nothing_and_what_is_left_is_swept(killed: Path, phase: str) -> None:
    store = InProcessVectors(killed / phase)

    assert await store.count(INDEX) == POINTS + 50 - 1
    assert folders(killed / phase) == [f"{NAME}.1" if phase == "swapped" else NAME]
    assert await has_graph(store) == (phase == "swapped")
    await store.close()


def test_the_newest_complete_generation_counts_and_the_others_are_swept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a.new").mkdir()
    (tmp_path / "ab").mkdir()
    generations.complete(generations.start_next(tmp_path, "a"))
    generations.complete(generations.start_next(tmp_path, "a"))
    partial_one = generations.start_next(tmp_path, "a")
    assert partial_one.name == "a.3"

    generations.sweep(tmp_path)

    assert folders(tmp_path) == ["a.2", "ab"]
    generations.delete(tmp_path, "a")
    assert folders(tmp_path) == ["ab"]


async def test_the_process_that_builds_does_nothing_where_its_parent_is_gone(store: QdrantEdgeVectors) -> None:
    await store.upsert(INDEX, points())
    folder = await copied(store)
    command = [sys.executable, "-m", "tidemill_rag.vectors.build_graph", folder, "2", "1", "1"]

    ended = await asyncio.create_subprocess_exec(*command)

    assert await asyncio.wait_for(ended.wait(), 60) == 1
