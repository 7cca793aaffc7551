"""Videos of a task: their parts, shared with whoever is free, joined to tracks.

The job that a task was given to tells the parts, asks for helpers and does what nobody else
does; a helper takes parts until none is left. Nobody waits for a worker that is not there: a
part whose job does not run, for its worker died, is taken by another. What is done lies in
the store, so that a job that is begun again goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import structlog
from rq import get_current_job
from rq.job import Job

from backend.errors import BackendError, JobCancelled, JobError
from backend.jobs.addresses import Look, films_of
from backend.jobs.claims import new_job_id
from backend.jobs.film_answers import as_found
from backend.jobs.learner import TrainedHead
from backend.jobs.patience import Patience
from backend.jobs.payload import Carrier, CarrierTask
from backend.jobs.process import Process, current
from backend.jobs.queues import enqueue
from backend.jobs.serving import spec_of
from backend.jobs.views import cancel_wanted
from backend.jobs.wait import Watch, wait_blocking
from backend.jobs.watching import Watcher
from backend.labelstudio.labelspec import FRAMERATE, LabelSpec
from backend.labelstudio.prediction import Found, FoundTracks
from backend.media.video_files import VideoFile
from backend.store import keys
from backend.store.films import FilmBoard, FilmState
from backend.store.fleet import Fleet
from backend.video.follow import find_tracks, looks_every
from backend.video.frames import Clip, Frame, read_clip
from backend.video.joining import join
from backend.video.parts import Part, plan_parts
from backend.video.records import tracks_from_json, tracks_to_json

log = structlog.get_logger(__name__)

HELP_JOB = "backend.jobs.video.run"
_MOST_HELPERS = 16
_TELL_S = 0.5
_LOOK_AROUND_S = 1.0
"""How often is looked whether those at work on a part still are."""

_RATES_DIFFER = 0.005
"""Share by which two frame rates may differ: 30 and 29.97 are told apart by nobody."""


def found_in_films(
    process: Process,
    carrier: Carrier,
    task: CarrierTask,
    spec: LabelSpec,
    job: Job | None,
) -> list[Found]:
    """What the video controls of a task find, in their order; empty without such controls.

    Raises: MediaError, LabelStudioError, ConfigError, JobCancelled.
    """
    return [Filming(process, carrier, task, film, job).run() for film in films_of(spec, task.data)]


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Help with a video; ``{"parts": how many were done}``.

    Whatever cannot be done is left to the job that asked. Raises: JobError.
    """
    process, carrier, job = current(), Carrier.from_json(payload), get_current_job()
    (task,) = carrier.tasks
    try:
        control, host = str(payload["control"]), str(payload["host"])
    except KeyError as error:
        raise JobError(
            f"A call for help lacks {error}.", "Run server and workers of the same release."
        ) from None
    films = {one.control.name: one for one in films_of(spec_of(process, carrier), task.data)}
    if control not in films:
        raise JobError(f"No control of a video is named {control!r}.", "Ask for the task again.")
    try:
        return {"parts": Filming(process, carrier, task, films[control], job, host).help()}
    except BackendError as error:
        log.info("help_ended", reason=str(error))
        return {"parts": 0}


class Filming:
    """One control's look at one video. host: the job that asked for help, "" for that itself."""

    def __init__(
        self,
        process: Process,
        carrier: Carrier,
        task: CarrierTask,
        film: Look,
        job: Job | None,
        host: str = "",
    ) -> None:
        self._process = process
        self._carrier = carrier
        self._task = task
        self._film = film
        self._job = job
        self._host = host
        self._job_id = job.id if job is not None else new_job_id("film", time.time())
        self._board = FilmBoard(process.connection, f"{task.key}:{film.control.name}")
        self._patience = Patience(process.connection, job)
        self._told_s = 0.0
        self._watcher = Watcher(process, film, self._head())
        self._looks_fps = film.control.options.looks_fps or self._watcher.way.looks_fps

    def run(self) -> FoundTracks:
        """All parts, by this job and those that help, joined."""
        settings = self._process.settings
        self._patience.renew(settings.job_timeout_s)
        try:
            with self._video() as video:
                clip = self._clip(video)
                every = looks_every(clip, self._looks_fps)
                wanted = plan_parts(clip, every, settings.video_part_looks)
                planned = self._board.plan([[one.first, one.last] for one in wanted])
                parts = [Part(*one) for one in planned]
                self._ask_for_help(len(parts) - 1)
                outcomes = self._work(video, clip, parts, -(-clip.frames // every))
        except BackendError:
            self._board.forget()
            raise
        self._board.finished()
        if self._job is not None:
            self._job.meta["total"] = 1  # what is told next is that the task is done
        tracks = join(
            [tracks_from_json(one["tracks"]) for one in outcomes],
            [one.last for one in parts if one.last is not None],
        )
        end = max(int(one["last"]) for one in outcomes) + 1
        return as_found(tracks, clip, end, every, self._film.control, settings)

    def help(self) -> int:
        """Do parts until none is left; how many were done."""
        parts = [Part(*one) for one in self._board.planned()]
        if not parts:
            return 0
        done = 0
        with self._video() as video:
            clip = read_clip(video.path, max_pixels=self._process.settings.media_pixels)
            while (at := self._next(self._board.state(), len(parts))) is not None:
                self._do(video, clip, parts[at], at, 0)
                done += 1
        return done

    # ---- sharing

    def _work(self, video: VideoFile, clip: Clip, parts: Sequence[Part], looks: int) -> list[Any]:
        """What came of each part, once all are done. looks: planned in all."""
        while True:
            state = self._board.state()
            self._tell(state, looks)
            if len(state.done) == len(parts):
                return self._board.outcomes(len(parts))
            at = self._next(state, len(parts))
            if at is not None:
                self._do(video, clip, parts[at], at, looks)
                continue
            self._patience.renew(self._process.settings.job_timeout_s)
            self._stop_if_cancelled()
            self._wait(state)

    def _next(self, state: FilmState, count: int) -> int | None:
        """A part to do, taken from nobody who is at it."""
        open_parts = [at for at in range(count) if at not in state.done]
        others = {state.takers.get(at, "") for at in open_parts} - {"", self._job_id}
        running = self._running(others)
        for at in open_parts:
            taker = state.takers.get(at, "")
            if taker not in running and self._board.take(at, self._job_id, taker):
                return at
        return None

    def _running(self, job_ids: set[str]) -> set[str]:
        """Those of these jobs that a worker is at."""
        ordered = sorted(job_ids)
        with self._process.connection.pipeline(transaction=False) as pipe:
            for job_id in ordered:
                pipe.hget(Job.key_for(job_id), "status")
            states: list[Any] = pipe.execute() if ordered else []
        return {
            job_id for job_id, state in zip(ordered, states, strict=True) if state == b"started"
        }

    def _wait(self, state: FilmState) -> None:
        """Until a job that is at a part ends, or it is time to look around."""
        at_work = [job for at, job in state.takers.items() if job and at not in state.done]
        watch = Watch(dict.fromkeys(at_work, 1), enough=1)
        wait_blocking(self._process.connection, watch, time.monotonic() + _LOOK_AROUND_S)

    def _ask_for_help(self, wanted: int) -> None:
        """Queue a helper for each further part, as far as there are workers that may come."""
        if self._job is None:
            return
        process = self._process
        alive = Fleet(process.connection).alive(process.settings.worker_lost_s, "predict")
        others = sum(worker.state == "ready" for worker in alive) - 1
        alone = replace(self._carrier, tasks=(self._task,))
        asked = {"control": self._film.control.name, "host": self._job_id}
        for _ in range(min(wanted, others, _MOST_HELPERS)):
            enqueue(
                process.connection,
                str(self._job.origin),
                HELP_JOB,
                alone.to_json() | asked,
                settings=process.settings,
                description=f"help with a video of project {self._carrier.project_id}",
                job_id=new_job_id("film", time.time()),
            )

    # ---- one part

    def _do(self, video: VideoFile, clip: Clip, part: Part, at: int, of_looks: int) -> None:
        """Look at one part and leave what was found. of_looks: planned in all."""
        settings = self._process.settings
        self._patience.renew(settings.job_timeout_s)
        begun_s = time.perf_counter()
        last, looks = part.first, 0

        def on_frame(frame: Frame) -> None:
            nonlocal last, looks
            last = frame.number
            looks += frame.rgb_u8 is not None
            if time.monotonic() - self._told_s >= _TELL_S:
                self._told_s = time.monotonic()
                self._stop_if_cancelled()
                self._board.looked(at, looks)
                if not self._host:
                    self._tell(self._board.state(), of_looks)

        try:
            tracks = find_tracks(
                video.path,
                clip,
                self._watcher.way,
                self._watcher.question(video.content_hash),
                looks_fps=self._looks_fps,
                first=part.first,
                last=part.last,
                on_frame=on_frame,
            )
        except BaseException:
            self._board.give_back(at, self._job_id)
            raise
        self._board.done(at, {"tracks": tracks_to_json(tracks), "last": last})
        self._board.looked(at, looks)
        took_ms = round(1000 * (time.perf_counter() - begun_s))
        counters = self._process.counters
        counters.add_many([("pictures", {}, looks), ("stage_ms", {"stage": "video"}, took_ms)])

    def _head(self) -> TrainedHead | None:
        number = self._carrier.head_number
        if not number:
            return None
        return self._process.heads.get(keys.project_id_of(self._carrier.project_id), number)

    def _tell(self, state: FilmState, looks: int) -> None:
        """How many frames have been looked at, of how many."""
        if self._job is None or self._host:
            return
        done = sum(state.looks.values())
        self._job.meta |= {"done": done, "total": max(looks, done)}
        self._job.save_meta()  # type: ignore[no-untyped-call]

    def _stop_if_cancelled(self) -> None:
        asked = [one for one in (self._job_id, self._host) if one]
        if any(cancel_wanted(self._process.connection, one) for one in asked):
            raise JobCancelled("The job was cancelled.", "Ask again for the whole video.")

    # ---- the file

    def _video(self) -> AbstractContextManager[VideoFile]:
        number = keys.project_id_of(self._carrier.project_id)
        project = int(number) if number.isdecimal() else None
        return self._process.fetcher.video(self._film.address, self._task.id, project)

    def _clip(self, video: VideoFile) -> Clip:
        """What the file tells of itself; says where the configuration tells otherwise."""
        clip = read_clip(video.path, max_pixels=self._process.settings.media_pixels)
        framerate = self._film.control.framerate or FRAMERATE
        if rates_differ(clip.fps, framerate):
            self._process.counters.add("framerates_differ", {})
            log.warning(
                "framerates_differ",
                project=self._carrier.project_id,
                task=self._task.id,
                file_fps=round(clip.fps, 3),
                framerate=framerate,
                remedy=f'Write framerate="{clip.fps:g}" at the <Video>: its browser counts frames '
                "by it, and key frames fall between those of the file.",
            )
        return clip


def rates_differ(file_fps: float, framerate: float) -> bool:
    """Whether Label Studio counts other frames than the file has."""
    return abs(file_fps / framerate - 1) > _RATES_DIFFER
