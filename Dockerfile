# Server and workers of the backend: one image, the command decides.
#   docker build -t saliency-backend .
# A machine with NVIDIA GPUs: --build-arg TORCH_INDEX= (empty: the build with CUDA)
FROM python:3.11-slim

# Where torch and torchvision come from; PyTorch's CPU index saves 2.5 GB.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Extra arguments for pip, for example --index-url of a mirror.
ARG PIP_ARGS=""
# 0 leaves label-studio-ml with its old Flask out; only backend/model.py needs it.
ARG WITH_LABEL_STUDIO_ML=1

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app
COPY requirements.txt ./
# torch goes first so that the rest accepts the build chosen here. The arguments are
# left unquoted on purpose: an empty one must vanish, a long one is several words.
# hadolint ignore=SC2086
RUN case "$WITH_LABEL_STUDIO_ML" in \
        1) cp requirements.txt wanted.txt ;; \
        0) grep -v '^label-studio-ml' requirements.txt > wanted.txt ;; \
        *) echo "WITH_LABEL_STUDIO_ML is 0 or 1"; exit 1 ;; \
    esac \
    && grep -E '^(torch|torchvision)[<>=]' requirements.txt > torch.txt \
    && pip install $PIP_ARGS ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r torch.txt \
    && pip install $PIP_ARGS -r wanted.txt \
    && rm torch.txt wanted.txt

# Folders exist with their owner before a volume is mounted: a named volume inherits both.
RUN useradd --create-home --uid 10001 backend \
    && mkdir -p /data /home/backend/.cache \
    && chown backend:backend /data /home/backend/.cache
COPY backend ./backend

USER 10001
ENV DATA_DIR=/data \
    HOST=0.0.0.0 \
    PORT=9090
VOLUME ["/data", "/home/backend/.cache"]
EXPOSE 9090

# /healthz needs no password and says that the server serves; /health tells how well.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/healthz\", timeout=4)"]

# Redis, workers and server in one container. compose starts `serve` and `worker` singly.
STOPSIGNAL SIGINT
CMD ["python", "-m", "backend", "up"]
