"""Every key name in Redis, once."""

from __future__ import annotations

SCHEMA = 1
"""Revision of what lies under the keys. Raise it, with a step in ``migrations``, when old data
can no longer be read as it is."""

_ALL = "lsb:"


def prefix(schema: int) -> str:
    """How all names of data of a schema begin."""
    return f"{_ALL}{schema}:"


_PREFIX = prefix(SCHEMA)

EVERY_NUMBERED = f"{_ALL}*:*"
"""Pattern of the names of data of any schema, and of nothing else."""

SCHEMA_KEY = f"{_ALL}schema"
"""Holds the number of the schema in use; outside the numbered prefix on purpose."""

MIGRATION_LOCK = f"{_ALL}migrating"
"""Held by the one process that brings an older store to a newer schema."""


def project_id_of(project: str | int) -> str:
    """``"12"`` of ``"12.1795224262"``: Label Studio appends the project's creation time."""
    return str(project).strip().split(".", 1)[0]


def prediction(task_key: str) -> str:
    """The finished prediction, or failure, of one task."""
    return f"{_PREFIX}prediction:{task_key}"


def predictions_by_age(kind: str) -> str:
    """Task keys in order of insertion; kind is ``finished`` or ``failed``."""
    return f"{_PREFIX}predictions:{kind}"


def claim(task_key: str) -> str:
    """Id of the job that is predicting a task."""
    return f"{_PREFIX}claim:{task_key}"


def project(project_id: str) -> str:
    """What /setup told about a project."""
    return f"{_PREFIX}project:{project_id_of(project_id)}"


def head_pointer(project_id: str) -> str:
    """Which head a project uses."""
    return f"{_PREFIX}head:{project_id_of(project_id)}"


def projects() -> str:
    """Ids of all known projects."""
    return f"{_PREFIX}projects"


def config(fingerprint: str) -> str:
    """A labelling configuration's XML."""
    return f"{_PREFIX}config:{fingerprint}"


def fleet_infos() -> str:
    """What each worker tells about itself."""
    return f"{_PREFIX}fleet:infos"


def fleet_beats() -> str:
    """When each worker was last heard."""
    return f"{_PREFIX}fleet:beats"


def backbone_identity() -> str:
    """What the workers loaded."""
    return f"{_PREFIX}backbone"


def backbone_turn() -> str:
    """Held by the worker that is loading a backbone which others will follow."""
    return f"{_PREFIX}backbone:turn"


def counters() -> str:
    """All counters."""
    return f"{_PREFIX}counters"


def pace() -> str:
    """Pictures seen, by minute of the epoch."""
    return f"{_PREFIX}counters:pace"


def recent_predictions() -> str:
    """Which tasks were predicted last."""
    return f"{_PREFIX}predictions:recent"


def acceptance() -> str:
    """Per project: what people did with its predictions."""
    return f"{_PREFIX}acceptance"


def deliveries(project_id: str, part: str) -> str:
    """One part of what a project's deliveries consist of."""
    return f"{_PREFIX}deliveries:{part}:{project_id_of(project_id)}"


def projects_with_deliveries() -> str:
    """Ids of projects that have predictions to push."""
    return f"{_PREFIX}deliveries:projects"


def cancel_flag(job_id: str) -> str:
    """Set where a running job is asked to stop."""
    return f"{_PREFIX}cancel:{job_id}"


def push_waits(project_id: str) -> str:
    """Set while a push job of the project waits in its queue."""
    return f"{_PREFIX}push:waits:{project_id_of(project_id)}"


def push_states() -> str:
    """Per project: when it was pushed last, and how often in a row that failed."""
    return f"{_PREFIX}push:states"


def recovery(worker_name: str) -> str:
    """Held by whoever puts back the jobs of a dead worker."""
    return f"{_PREFIX}recovery:{worker_name}"


def film(name: str) -> str:
    """The parts of a video that are being looked at."""
    return f"{_PREFIX}film:{name}"


def riders() -> str:
    """Jobs that ride with another: its worker and id by theirs."""
    return f"{_PREFIX}riders"


def ledger(project_id: str, part: str) -> str:
    """One part of a project's ledger of accepted labels."""
    return f"{_PREFIX}ledger:{part}:{project_id_of(project_id)}"


def ledger_due() -> str:
    """Ids of projects whose ledger changed since their last training began."""
    return f"{_PREFIX}ledger:due"


def ledger_synced() -> str:
    """Per project: the state of Label Studio at the last complete sync."""
    return f"{_PREFIX}ledger:synced"


def sync_round() -> str:
    """Set for a while after one machine of the fleet has had all projects synced."""
    return f"{_PREFIX}ledger:round"


def training(project_id: str) -> str:
    """Id of the project's training that waits or runs."""
    return f"{_PREFIX}training:{project_id_of(project_id)}"


def training_asked(project_id: str) -> str:
    """Set where a training was asked for while another one ran."""
    return f"{_PREFIX}training:asked:{project_id_of(project_id)}"


def head(project_id: str, number: int) -> str:
    """One trained head: its bytes, its pictures."""
    return f"{_PREFIX}head:{project_id_of(project_id)}:{number}"


def heads(project_id: str, part: str) -> str:
    """What a project knows of its heads; part is ``meta``, ``refs`` or ``last``."""
    return f"{_PREFIX}heads:{part}:{project_id_of(project_id)}"


def judged(project_id: str, version: str) -> str:
    """How a version without a head did on accepted pictures."""
    return f"{_PREFIX}judged:{project_id_of(project_id)}:{version}"


def refresh(project_id: str) -> str:
    """The refresh of a project's predictions that is under way."""
    return f"{_PREFIX}refresh:{project_id_of(project_id)}"


def disk_full() -> str:
    """Set while the embedded Redis cannot write to its disk: what users should know."""
    return f"{_PREFIX}disk:full"


def explanation(name: str) -> str:
    """A picture that shows where a method looked."""
    return f"{_PREFIX}explanation:{name}"


def explaining(name: str) -> str:
    """Id of the job that draws that picture."""
    return f"{_PREFIX}explaining:{name}"


def restoring() -> str:
    """Beginning of the names of what is being restored and in nobody's sight yet."""
    return f"{_PREFIX}restoring:"
