"""Videos of tasks: their parts, helpers and deaths, what cannot be had; on drawn films."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.domain import Failed, FloatArray, Task, iou_matrix
from backend.errors import LabelConfigInvalid
from backend.jobs import process, video
from backend.jobs.enqueue import PredictCall
from backend.jobs.failed import failed_jobs, retry_failed
from backend.jobs.process import current
from backend.jobs.video import rates_differ
from backend.labelstudio.labelspec import parse_label_config
from backend.labelstudio.prediction_check import check_prediction
from backend.labelstudio.tracks import ReadTrack, read_tracks
from backend.store import keys
from backend.store.counters import Counters
from backend.store.films import FilmBoard
from backend.video import joining
from backend.video.follow import find_tracks
from tests.jobs.conftest import MakeRoad, PictureServer, Road
from tests.jobs.test_train import Team
from tests.jobs.whole_backend import WholeBackend, answered
from tests.labelstudio_standin import LabelStudioStandin
from tests.video.drawn import FPS, HW, path_of, write_film

VIDEO = """
<View>
  <Labels name="label" toName="video"{options}><Label value="Thing"/></Labels>
  <Video name="video" value="$video" framerate="{framerate:g}"/>
  <VideoRectangle name="box" toName="video"/>
</View>
"""
FRAMES = 60

Until = Callable[..., None]


def config(framerate: float = FPS, **options: object) -> str:
    told = "".join(f' model_{name}="{value}"' for name, value in options.items())
    return VIDEO.format(framerate=framerate, options=told)


def moving(count: int = FRAMES) -> list[FloatArray | None]:
    return [path_of(at) for at in range(count)]


def serve(
    pictures: PictureServer,
    tmp_path: Path,
    boxes: Sequence[FloatArray | None],
    fps: float = FPS,
    change: Callable[[bytes], bytes] = bytes,
) -> str:
    """Address of a drawn film. change: of the file."""
    path = write_film(tmp_path / f"{len(pictures.pictures)}.mp4", boxes, fps)
    pictures.pictures[f"/{path.name}"] = change(path.read_bytes())
    return f"{pictures.url}/{path.name}"


def call_of(
    address: str, label_config: str = config(), queue_name: str = "predict", task_id: int = 1
) -> PredictCall:
    return PredictCall("1", label_config, (Task(task_id, {"video": address}),), queue_name)


def checked(reply: bytes | None, asked: PredictCall) -> dict[str, Any]:
    assert reply is not None
    prediction: dict[str, Any] = json.loads(reply)
    spec = parse_label_config(asked.label_config)
    assert check_prediction(prediction, spec, asked.tasks[0].data) == []
    return prediction


def predicted(road: Road, asked: PredictCall) -> dict[str, Any]:
    (reply,) = road.predict(asked)
    return checked(reply, asked)


def why_not(road: Road, asked: PredictCall) -> Failed:
    ticket = road.dispatcher.begin(asked)
    road.work()
    assert road.dispatcher.finish(ticket) == [None]
    (answer,) = ticket.answers
    assert isinstance(answer, Failed)
    return answer


def tracks_of(prediction: Mapping[str, Any]) -> list[ReadTrack]:
    return read_tracks(prediction["result"], parse_label_config(config()))


def mean_overlap(track: ReadTrack, first: int = 10, count: int = FRAMES) -> float:
    """Of a track with the drawn path, over the frames from first on."""
    scale = np.array(HW[::-1] * 2, np.float32)
    overlaps = []
    for frame in range(first, count):
        drawn = track.drawn_at(frame + 1)
        box = np.zeros(4, np.float32) if drawn is None else np.array(drawn, np.float32) * scale
        overlaps.append(float(iou_matrix(box[None], path_of(frame)[None])[0, 0]))
    return float(np.mean(overlaps))


@pytest.mark.parametrize("looks", [300, 5], ids=["one part", "parts"])
def test_what_moves_is_followed_to_the_end(make_road: MakeRoad, tmp_path: Path, looks: int) -> None:
    road = make_road(video_part_looks=looks)
    asked = call_of(serve(road.pictures, tmp_path, moving()))
    prediction = predicted(road, asked)
    (region,) = prediction["result"]
    assert (region["from_name"], region["to_name"]) == ("box", "video")
    assert region["type"] == "videorectangle"
    assert region["value"]["labels"] == ["Thing"]
    assert region["value"]["framesCount"] == FRAMES
    assert region["value"]["duration"] == pytest.approx(FRAMES / FPS)
    (track,) = tracks_of(prediction)
    assert mean_overlap(track) > 0.6
    assert len(track.key_frames) < FRAMES / 5, "thinned"
    assert road.pictures.asked["/0.mp4"] == 1
    assert current().cache.owners([road.dispatcher.begin(asked).keys[0] or ""]) == [None]


def test_what_leaves_is_drawn_no_longer(road: Road, tmp_path: Path) -> None:
    boxes = [*moving(40), *[None] * 40]
    (track,) = tracks_of(predicted(road, call_of(serve(road.pictures, tmp_path, boxes))))
    assert mean_overlap(track, count=36) > 0.6
    assert not track.key_frames[-1].goes_on
    assert track.drawn_at(60) is None


def test_a_learned_label_is_looked_for_frame_by_frame(road: Road, tmp_path: Path) -> None:
    team = Team(road, config())
    address = serve(road.pictures, tmp_path, [path_of(0)] * FRAMES)
    before = predicted(road, call_of(address))
    assert before["result"] == [], "nothing moves"
    team.report_video(1, address, [sequence(path_of(0), 1, 21)])
    outcome = team.train()
    assert outcome["published"] is True, outcome
    assert outcome["pictures"] == 2, "one a key frame, none of those between"
    assert road.pictures.asked["/0.mp4"] == 1
    after = predicted(road, call_of(address))
    assert after["model_version"].startswith("mobilenet_v2-1-")
    (track,) = tracks_of(after)
    assert track.label == "Thing"
    scale = np.array(HW[::-1] * 2, np.float32)
    drawn = np.array(track.drawn_at(30), np.float32) * scale
    assert iou_matrix(drawn[None], path_of(0)[None])[0, 0] > 0.9


def test_rejected_tracks_count_on_their_key_frames(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = Team(road, config())
    address = serve(road.pictures, tmp_path, [path_of(0)] * FRAMES)
    shown = [sequence(path_of(0), 1, 21), sequence(path_of(40), 5, 21) | {"id": "wrong"}]
    prediction = {"id": 7, "model_version": "v", "result": shown}
    team.report_video(1, address, shown[:1], prediction=prediction, parent_prediction=7)
    seen: list[Any] = []
    learner = current().learner
    fit = learner.fit

    def noted(examples: Any, *rest: Any) -> Any:
        seen.extend(examples)
        return fit(examples, *rest)

    monkeypatch.setattr(
        process._HOLDER, "process", replace(current(), learner=replace(learner, fit=noted))
    )
    assert team.train()["published"] is True
    rejected = {one.picture.rpartition("-")[2]: len(one.rejected_xyxy_px) for one in seen}
    assert rejected == {"0": 0, "4": 1, "20": 1}
    assert all(len(one.boxes) == 1 for one in seen), "what lies between key frames is no ground"


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        pytest.param(lambda film: film[:200], "media_unreadable", "cannot be", id="cut short"),
        pytest.param(
            lambda film: film.replace(b"mp4v", b"zq9x").replace(b"esds", b"zsds"),
            "media_unreadable", "codec", id="unknown codec",
        ),
        pytest.param(lambda film: b"\x89PNG\r\n", "media_unreadable", "no video", id="picture"),
        pytest.param(lambda film: b"", "media_unreadable", "no video", id="nothing in it"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_told(
    road: Road, tmp_path: Path, change: Callable[[bytes], bytes], code: str, told: str
) -> None:
    failed = why_not(road, call_of(serve(road.pictures, tmp_path, moving(5), change=change)))
    assert failed.code == code
    assert told in failed.reason


def test_a_missing_file_and_one_too_large_are_told(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road(video_bytes=1000)
    assert why_not(road, call_of(f"{road.pictures.url}/gone.mp4")).code == "media_missing"
    failed = why_not(road, call_of(serve(road.pictures, tmp_path, moving(5))))
    assert failed.code == "media_too_large"
    assert "MAX_VIDEO_BYTES" in failed.reason
    assert why_not(road, PredictCall("1", config(), (Task(1, {"other": "x"}),))).code == (
        "media_missing"
    )


def test_another_rate_than_the_file_has_is_told_and_counted(road: Road, tmp_path: Path) -> None:
    address = serve(road.pictures, tmp_path, moving())
    (region,) = predicted(road, call_of(address, config(10)))["result"]
    assert region["value"]["framesCount"] == FRAMES * 10 / FPS
    spec = parse_label_config(config(10))
    (track,) = read_tracks([region], spec)
    drawn = np.array(track.drawn_at(17), np.float32) * np.array(HW[::-1] * 2, np.float32)
    assert iou_matrix(drawn[None], path_of(40)[None])[0, 0] > 0.6, "frame 17 of 10 fps is frame 40"
    assert Counters(road.connection).read()["framerates_differ", ()] == 1
    predicted(road, call_of(address, config()))
    assert Counters(road.connection).read()["framerates_differ", ()] == 1


@pytest.mark.parametrize(
    ("file_fps", "framerate", "differ"),
    [(25.0, 25.0, False), (29.97, 30.0, False), (25.0, 24.0, True), (30.0, 60.0, True)],
)
def test_rates(file_fps: float, framerate: float, differ: bool) -> None:
    assert rates_differ(file_fps, framerate) is differ


def test_a_late_film_is_pushed(
    keyed_road: Road, label_studio: LabelStudioStandin, tmp_path: Path
) -> None:
    road = keyed_road
    label_studio.projects[1]["label_config"] = config()
    address = serve(road.pictures, tmp_path, moving())
    (task_id,) = label_studio.add_tasks([{"video": address}])
    asked = call_of(address, task_id=task_id)
    ticket = road.dispatcher.begin(asked)
    road.dispatcher.wait_blocking(ticket, 0.01)
    assert road.dispatcher.finish(ticket) == [None], "nothing to store now"
    assert label_studio.predictions == []
    road.work()
    (stored,) = label_studio.predictions
    assert stored["task"] == task_id
    assert stored["model_version"] == ticket.version
    assert [region["type"] for region in stored["result"]] == ["videorectangle"]


def test_a_cancelled_film_stops_and_is_free_again(road: Road, tmp_path: Path) -> None:
    asked = call_of(serve(road.pictures, tmp_path, moving()))
    ticket = road.dispatcher.begin(asked)
    (job_id,) = ticket.own_jobs

    def cancel(path: str) -> None:
        road.connection.set(keys.cancel_flag(job_id), b"1")

    road.pictures.on_get = cancel
    road.work()
    assert road.dispatcher.job(job_id).state == "cancelled"
    assert not list(road.connection.scan_iter(match=keys.film("*")))
    road.pictures.on_get = lambda path: None
    assert predicted(road, asked)["result"]


def test_progress_is_told_in_frames_looked_at(
    make_road: MakeRoad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = make_road(video_part_looks=5)
    asked = call_of(serve(road.pictures, tmp_path, moving()))
    ticket = road.dispatcher.begin(asked)
    told: list[Mapping[str, int]] = []

    def joined(*arguments: Any) -> Any:
        told.append(road.dispatcher.job(ticket.own_jobs[0]).progress)
        return joining.join(*arguments)

    monkeypatch.setattr(video, "join", joined)
    road.work()
    assert road.dispatcher.finish(ticket) != [None]
    assert told[-1] == {"done": 14, "total": 14}, "12, and two that parts have in common"
    assert road.dispatcher.job(ticket.own_jobs[0]).progress == {"done": 1, "total": 1}


@pytest.mark.parametrize("slow_s", [0.7, 1.6])
def test_each_part_has_its_time(
    make_road: MakeRoad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow_s: float
) -> None:
    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(slow_s)
        return find_tracks(*arguments, **options)

    monkeypatch.setattr(video, "find_tracks", slow)
    road = make_road(video_part_looks=5, job_timeout_s=1 if slow_s > 1 else 2)
    asked = call_of(serve(road.pictures, tmp_path, moving()))
    if slow_s > 1:
        assert "JOB_TIMEOUT=1" in why_not(road, asked).reason
    else:
        assert predicted(road, asked)["result"], "three parts, longer together than JOB_TIMEOUT"


def test_pictures_and_several_label_groups_beside_a_video(road: Road, tmp_path: Path) -> None:
    label_config = config().replace(
        "</View>",
        """<Labels name="more" toName="video" model_looks_fps="2"><Label value="Other"/></Labels>
        <Image name="image" value="$image"/>
        <RectangleLabels name="part" toName="image"><Label value="Part"/></RectangleLabels></View>
        """,
    )
    address = serve(road.pictures, tmp_path, moving())
    (picture,) = road.pictures.add(1)
    data = {"video": address, "image": picture}
    asked = PredictCall("1", label_config, (Task(1, data), Task(2, data | {"image": address})))
    good, bad = road.predict(asked)
    prediction = checked(good, asked)
    found = {(one["from_name"], *one["value"].get("labels", ())) for one in prediction["result"]}
    assert {("box", "Thing"), ("box", "Other"), ("part",)} == found
    assert bad is None, "a film is no picture"


def test_a_task_is_looked_at_once_for_two_calls(road: Road, tmp_path: Path) -> None:
    asked = call_of(serve(road.pictures, tmp_path, moving()))
    tickets = [road.dispatcher.begin(asked) for _ in range(2)]
    road.work()
    replies = [road.dispatcher.finish(one) for one in tickets]
    assert replies[0] == replies[1] != [None]
    assert Counters(road.connection).read()["pictures", ()] == 12


def test_each_video_is_a_job_of_its_own(road: Road, tmp_path: Path) -> None:
    addresses = [serve(road.pictures, tmp_path, moving(20)) for _ in range(3)]
    tasks = tuple(Task(at, {"video": one}) for at, one in enumerate(addresses, 1))
    ticket = road.dispatcher.begin(PredictCall("1", config(), tasks, "bulk"))
    assert len(ticket.own_jobs) == 3
    assert road.waiting("bulk") == 3


def test_a_film_that_failed_is_tried_again_by_hand(road: Road, tmp_path: Path) -> None:
    address = serve(road.pictures, tmp_path, moving())
    film = road.pictures.pictures.pop("/0.mp4")
    asked = call_of(address)
    assert why_not(road, asked).code == "media_missing"
    (failed,) = failed_jobs(road.connection)
    assert (failed.kind, failed.tasks, failed.task_ids) == ("predict", 1, (1,))
    road.pictures.pictures["/0.mp4"] = film
    assert retry_failed(road.connection, failed.id)
    road.work()
    ticket = road.dispatcher.begin(asked)
    assert checked(road.dispatcher.finish(ticket)[0], asked)["result"]
    assert failed_jobs(road.connection) == []


def test_unknown_ways_and_rates_are_refused_at_setup(road: Road) -> None:
    with pytest.raises(LabelConfigInvalid, match="frame_cam, motion, video_cam"):
        road.dispatcher.model_version("1", config(video_way="magic"))
    with pytest.raises(LabelConfigInvalid, match="model_looks_fps"):
        road.dispatcher.model_version("1", config(looks_fps=0))
    versions = {
        road.dispatcher.model_version("1", config(**options))
        for options in ({}, {"video_way": "motion"}, {"looks_fps": 2})
    }
    assert len(versions) == 3


def test_looks_are_as_many_as_asked_for(road: Road, tmp_path: Path) -> None:
    address = serve(road.pictures, tmp_path, moving())
    predicted(road, call_of(address, config(looks_fps=1)))
    assert Counters(road.connection).read()["pictures", ()] == 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, until: Until) -> Iterator[WholeBackend]:
    """A server, and a machine with two workers."""
    folder = tmp_path_factory.mktemp("films")
    with WholeBackend(folder, until, video_part_looks=30) as backend:
        backend.server()
        backend.machine(2)
        yield backend


@pytest.mark.slow
def test_two_workers_share_a_film_and_one_is_killed(
    whole: WholeBackend, pictures: PictureServer, tmp_path: Path, until: Until
) -> None:
    address = serve(pictures, tmp_path, [*moving(), *reversed(moving())] * 3)
    (url,) = whole.servers

    def ask(score_threshold: float) -> Any:
        """Ask for it anew: each threshold is another version."""
        until(lambda: len(whole.ready()) == 2, 60)
        for key in whole.connection.scan_iter(match=keys.film("*")):
            whole.connection.delete(key)
        label_config = config(looks_fps=25, score_threshold=score_threshold)
        tasks = [{"id": 1, "data": {"video": address}}]
        return whole.ask(url, [], tasks=tasks, label_config=label_config)

    def at_work() -> list[str]:
        """Jobs by which parts are taken that are not done."""
        (key,) = list(whole.connection.scan_iter(match=keys.film("*"))) or [b""]
        board = FilmBoard(whole.connection, key.decode().removeprefix(keys.film("")))
        state = board.state()
        return [job for at, job in state.takers.items() if job and at not in state.done]

    def found(reply: Any) -> list[Any]:
        ((result,),) = [answered(reply)]
        return [one["value"] for one in result["result"]]

    undisturbed = found(ask(0.1))
    assert len(undisturbed) >= 1
    for number, helps in enumerate((False, True), 1):
        reply = ask(0.1 + number / 100)
        until(lambda: len(at_work()) == 2, 60)
        (victim,) = [job for job in at_work() if job.startswith("film") is helps]
        os.kill(whole.worker_of(victim), signal.SIGKILL)
        assert found(reply) == undisturbed, "as if nothing had happened"
        assert whole.counted("tasks_predicted") == 1 + number, "once"
        until(lambda: whole.running() == [] and whole.queued() == [])
        assert whole.claims() == []
    path = address.removeprefix(pictures.url)
    assert pictures.asked[path] == 1, "one file for all workers of a machine"


def sequence(xyxy_px: FloatArray, *frames: int) -> dict[str, Any]:
    """A region as the editor sends it: the same box at some frames."""
    x0, y0, x1, y1 = (float(edge) for edge in xyxy_px)
    height, width = HW
    box = {
        "x": 100 * x0 / width,
        "y": 100 * y0 / height,
        "width": 100 * (x1 - x0) / width,
        "height": 100 * (y1 - y0) / height,
    }
    return {
        "id": "kept", "from_name": "box", "to_name": "video", "type": "videorectangle",
        "origin": "manual",
        "value": {
            "framesCount": FRAMES, "duration": FRAMES / FPS, "labels": ["Thing"],
            "sequence": [
                {"frame": one, "enabled": True, "rotation": 0, "time": one / FPS, **box}
                for one in frames
            ],
        },
    }  # fmt: skip
