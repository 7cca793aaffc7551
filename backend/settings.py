"""Every setting of the backend, read once from the environment.

``load_settings()`` is called by the commands and the result is handed on; nothing else
reads the environment. The table in docs/settings.md is generated from these fields.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backend.errors import SettingsInvalid

MIB = 1024 * 1024

_USERINFO = re.compile(r"//[^/?#\s]*@")


class Settings(BaseSettings):
    """All settings; the alias of a field is its environment variable."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True
    )

    # Where the backend listens
    host: str = Field("0.0.0.0", alias="HOST", description="Address the server listens on.")
    port: int = Field(9090, alias="PORT", ge=1, le=65535, description="Port of the server.")
    basic_auth_user: str = Field(
        "", alias="BASIC_AUTH_USER", description="User name asked of every caller; empty: none."
    )
    basic_auth_pass: SecretStr = Field(
        SecretStr(""), alias="BASIC_AUTH_PASS", description="Password asked of every caller."
    )
    tls_cert_file: Path | None = Field(
        None,
        alias="TLS_CERT_FILE",
        description="Certificate chain (PEM); with TLS_KEY_FILE the server speaks https.",
    )
    tls_key_file: Path | None = Field(
        None, alias="TLS_KEY_FILE", description="Private key of the certificate (PEM)."
    )
    request_bytes: PositiveInt = Field(
        64 * MIB, alias="MAX_REQUEST_BYTES", description="Largest request body accepted."
    )
    request_tasks: PositiveInt = Field(
        10_000, alias="MAX_REQUEST_TASKS", description="Most tasks accepted in one /predict."
    )
    request_timeout_s: PositiveFloat = Field(
        60.0, alias="REQUEST_TIMEOUT", description="Seconds within which a body has to arrive."
    )
    tasks_per_minute: NonNegativeInt = Field(
        100_000,
        alias="TASKS_PER_MINUTE",
        description="Most tasks that one address may ask to be predicted in a minute; 0: no bound.",
    )
    explain_per_minute: NonNegativeInt = Field(
        60,
        alias="EXPLAIN_PER_MINUTE",
        description="Most pictures of /explain that one address may ask for in a minute; "
        "0: no bound.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", alias="LOG_LEVEL", description="Least severity that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        "text", alias="LOG_FORMAT", description="Log lines for people (text) or machines (json)."
    )

    # Where things are kept
    data_dir: Path = Field(
        Path(".data"), alias="DATA_DIR", description="Folder of the embedded Redis and of caches."
    )
    redis_url: str = Field(
        "",
        alias="REDIS_URL",
        description="Redis shared by server and workers; empty: an embedded one under DATA_DIR.",
    )
    prediction_cache_items: PositiveInt = Field(
        200_000,
        alias="PREDICTION_CACHE_ITEMS",
        description="Most predictions kept, oldest first out.",
    )
    prediction_cache_ttl_s: PositiveInt = Field(
        7 * 24 * 3600, alias="PREDICTION_CACHE_TTL", description="Seconds a prediction is kept."
    )
    failure_cache_ttl_s: PositiveInt = Field(
        60,
        alias="FAILURE_CACHE_TTL",
        description="Seconds before a task that could not be done is tried again when asked for.",
    )

    # Label Studio
    label_studio_url: str = Field(
        "http://localhost:8080",
        alias="LABEL_STUDIO_URL",
        description="Label Studio as server and workers reach it.",
    )
    label_studio_api_key: SecretStr = Field(
        SecretStr(""),
        alias="LABEL_STUDIO_API_KEY",
        description="Personal access token or legacy token: fetches uploads, pushes predictions.",
    )
    label_studio_timeout_s: PositiveFloat = Field(
        30.0,
        alias="LABEL_STUDIO_TIMEOUT",
        description="Seconds for one call to Label Studio's API.",
    )
    predict_deadline_s: PositiveFloat = Field(
        20.0,
        alias="PREDICT_DEADLINE",
        le=95.0,
        description="Seconds within which /predict is answered; what is late is pushed.",
    )
    predict_deadline_without_key_s: PositiveFloat = Field(
        90.0,
        alias="PREDICT_DEADLINE_WITHOUT_KEY",
        le=95.0,
        description="The same where LABEL_STUDIO_API_KEY is unset and nothing can be pushed.",
    )
    predict_inline_tasks: NonNegativeInt = Field(
        32,
        alias="PREDICT_INLINE_TASKS",
        description="With an API key: fresh predictions after which a large /predict is answered; "
        "the rest is pushed, which Label Studio stores a hundred times faster.",
    )
    push_batch: PositiveInt = Field(
        250, alias="PUSH_BATCH", description="Predictions in one bulk import into Label Studio."
    )

    # The model
    backbone: str = Field(
        "auto",
        alias="BACKBONE",
        description="Network by name, `backbones` lists them; auto: mobilenet_v2 if its weights "
        "can be had, else the small embedded one.",
    )
    backbone_weights: Path | None = Field(
        None,
        alias="BACKBONE_WEIGHTS",
        description="Weights file (.safetensors, or .pth/.pt read without pickled code).",
    )
    device: str = Field(
        "auto",
        alias="DEVICE",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto (every GPU, else CPU), cpu, cuda or cuda:N.",
    )
    runtime: Literal["auto", "torch", "openvino"] = Field(
        "auto",
        alias="RUNTIME",
        description="What runs the network's forward pass: auto (the faster one here, measured at "
        "the first start; openvino only on a CPU where it is installed), torch or openvino.",
    )
    score_threshold: float = Field(
        0.0,
        alias="MODEL_SCORE_THRESHOLD",
        ge=0.0,
        le=1.0,
        description="Least score of a returned box; a control's model_score_threshold wins.",
    )
    max_boxes: PositiveInt = Field(
        20,
        alias="MODEL_MAX_BOXES",
        description="Most boxes a picture and control; a control's model_max_boxes wins.",
    )

    # Workers and jobs
    workers: NonNegativeInt | Literal["auto"] = Field(
        "auto",
        alias="WORKERS",
        description="Worker processes; auto: one a GPU, or up to 4 CPU cores; 0: others predict.",
    )
    carrier_tasks: int = Field(
        64, alias="CARRIER_TASKS", ge=1, le=256, description="Most tasks that one job carries."
    )
    batch_pictures: PositiveInt = Field(
        8, alias="BATCH_PICTURES", description="Pictures in one forward pass."
    )
    fetch_threads: PositiveInt = Field(
        8, alias="FETCH_THREADS", description="Pictures fetched and decoded at once by a worker."
    )
    job_timeout_s: PositiveInt = Field(
        300, alias="JOB_TIMEOUT", description="Seconds after which a job is stopped."
    )
    job_retries: NonNegativeInt = Field(
        3, alias="JOB_RETRIES", description="Times a job is tried again after its worker died."
    )
    heartbeat_s: PositiveFloat = Field(
        1.0, alias="HEARTBEAT", description="Seconds between two signs of life of a worker."
    )
    worker_lost_s: PositiveFloat = Field(
        10.0,
        alias="WORKER_LOST",
        description="Seconds of silence after which a worker is given up; one of ours is killed.",
    )

    # Learning
    train_every: PositiveInt = Field(
        5,
        alias="TRAIN_EVERY",
        description="New or changed annotations after which a head is trained.",
    )
    train_idle_s: PositiveFloat = Field(
        30.0,
        alias="TRAIN_IDLE",
        description="Seconds of quiet after which a head is trained from fewer.",
    )
    train_workers: NonNegativeInt = Field(
        1,
        alias="TRAIN_WORKERS",
        description="Processes of this machine that train, at low priority; 0: others do.",
    )
    train_timeout_s: PositiveInt = Field(
        3600, alias="TRAIN_TIMEOUT", description="Seconds after which a training is stopped."
    )
    heads_kept: PositiveInt = Field(
        20,
        alias="HEADS_KEPT",
        description="Trained heads kept of a project, the newest and the one in use.",
    )
    feature_cache_bytes: PositiveInt = Field(
        4096 * MIB,
        alias="FEATURE_CACHE_BYTES",
        description="Most bytes of picture features kept under DATA_DIR, oldest first out.",
    )
    refresh_predictions: bool = Field(
        True,
        alias="REFRESH_PREDICTIONS",
        description="With an API key: predict the unlabelled tasks anew with each new head.",
    )
    refresh_model_version: bool = Field(
        True,
        alias="REFRESH_MODEL_VERSION",
        description="Then show the new version in the project, so that its scores sort tasks.",
    )

    # Media
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        alias="ALLOWED_HOSTS",
        description="Hosts with private addresses that pictures may come from, comma separated "
        "(name, name:port, address or network as 10.0.0.0/8).",
    )
    local_files_root: Path | None = Field(
        None,
        alias="LOCAL_FILES_ROOT",
        description="Folder behind /data/local-files, read directly where a worker sees it too.",
    )
    media_timeout_s: PositiveFloat = Field(
        15.0, alias="MEDIA_TIMEOUT", description="Seconds to fetch one picture."
    )
    media_retries: NonNegativeInt = Field(
        2, alias="MEDIA_RETRIES", description="Times a fetch is repeated after a passing failure."
    )
    media_bytes: PositiveInt = Field(
        64 * MIB, alias="MAX_MEDIA_BYTES", description="Largest picture file fetched."
    )
    media_pixels: PositiveInt = Field(
        100_000_000,
        alias="MAX_MEDIA_PIXELS",
        description="Most pixels of a picture, before decoding.",
    )

    # Videos
    video_bytes: PositiveInt = Field(
        2048 * MIB, alias="MAX_VIDEO_BYTES", description="Largest video file fetched."
    )
    video_cache_bytes: PositiveInt = Field(
        8192 * MIB,
        alias="VIDEO_CACHE_BYTES",
        description="Most bytes of fetched videos kept under DATA_DIR, least recently used out.",
    )
    video_timeout_s: PositiveFloat = Field(
        240.0, alias="VIDEO_TIMEOUT", description="Seconds to fetch one video."
    )
    video_part_looks: PositiveInt = Field(
        300,
        alias="VIDEO_PART_LOOKS",
        ge=2,
        description="Frames looked at in one part of a video; several workers share its parts, "
        "and JOB_TIMEOUT holds for each.",
    )
    video_key_iou: float = Field(
        0.9,
        alias="VIDEO_KEY_IOU",
        gt=0.0,
        le=1.0,
        description="Overlap with the found path that the boxes between key frames keep.",
    )
    video_classifier: Literal["r3d_18", "mc3_18", "r2plus1d_18", "s3d"] = Field(
        "r3d_18", alias="VIDEO_CLASSIFIER", description="Network of the way video_cam."
    )
    video_weights: Path | None = Field(
        None,
        alias="VIDEO_WEIGHTS",
        description="Its weights file (.safetensors or .pth); else the published ones are fetched.",
    )

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @field_validator("label_studio_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("an address starting with http:// or https:// is allowed")
        return value.rstrip("/")

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("redis://, rediss:// and unix:// addresses are allowed")
        return value

    @field_validator("basic_auth_user")
    @classmethod
    def _no_colon(cls, value: str) -> str:
        if ":" in value:
            raise ValueError("a name without a colon, which ends it in the header, is allowed")
        return value

    @field_validator("backbone_weights", "video_weights")
    @classmethod
    def _weights_exist(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("the path of an existing file is allowed")
        return value

    @model_validator(mode="after")
    def _both_credentials(self) -> Settings:
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass.get_secret_value()):
            raise ValueError("BASIC_AUTH_USER and BASIC_AUTH_PASS are set together or not at all")
        return self

    @model_validator(mode="after")
    def _both_tls_files(self) -> Settings:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("TLS_CERT_FILE and TLS_KEY_FILE are set together or not at all")
        return self

    @property
    def can_push(self) -> bool:
        """Whether predictions can be written into Label Studio."""
        return bool(self.label_studio_api_key.get_secret_value())

    def worker_count(self, gpu_count: int, cpu_count: int | None = None) -> int:
        """Processes to run on this machine."""
        if self.workers != "auto":
            return self.workers
        return gpu_count or max(1, min(4, cpu_count or os.cpu_count() or 1))


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment, overrides (by field name) first.

    Raises: SettingsInvalid, naming every wrong variable, its value and what is allowed.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems: dict[str, str] = {}
        for problem in error.errors():
            message = problem["msg"].removeprefix("Value error, ")
            if not problem["loc"]:
                problems[message] = message
                continue
            variable = _variable(str(problem["loc"][0]))
            # An address may hold a password too.
            shown = _USERINFO.sub("//***@", repr(problem.get("input")))
            value = "***" if _is_secret(variable) else shown
            # A union reports every branch that failed; the first says enough.
            problems.setdefault(variable, f"{variable}={value}: {message}")
        raise SettingsInvalid(
            "These settings are wrong:\n  " + "\n  ".join(problems.values()) + "\n",
            "docs/settings.md lists what is allowed.",
        ) from None


def as_environment(settings: Settings) -> dict[str, str]:
    """The variables from which a child process reads the same settings, secrets included."""
    variables = {}
    for name, model_field in Settings.model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif isinstance(value, Path):
            value = value.absolute()
        elif isinstance(value, tuple):
            value = ",".join(value)
        variables[str(model_field.alias)] = "" if value is None else str(value)
    return variables


def _variable(alias_or_name: str) -> str:
    model_field = Settings.model_fields.get(alias_or_name)
    return str(model_field.alias) if model_field is not None else alias_or_name


def _is_secret(variable: str) -> bool:
    return any(
        model_field.alias == variable and model_field.annotation is SecretStr
        for model_field in Settings.model_fields.values()
    )
