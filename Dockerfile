# Server and workers of the backend: one image, the command decides.
#   docker build -t saliency-backend .
# For NVIDIA GPUs: --build-arg TORCH_INDEX= (empty: the build with CUDA).
# With weights inside: --build-arg BAKE_BACKBONES=mobilenet_v2
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
# Where torch and torchvision come from; PyTorch's CPU index saves 2.5 GB.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Extra arguments for pip, for example --index-url of a mirror.
ARG PIP_ARGS=""
# 1 adds label-studio-ml with its old Flask; server and workers never import it.
ARG WITH_LABEL_STUDIO_ML=0
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY requirements.txt ./
# torch goes first so that the rest accepts the build chosen here. The arguments are
# left unquoted on purpose: an empty one must vanish, a long one is several words.
# The environment that goes into the image holds no pip.
# hadolint ignore=SC2086
RUN case "$WITH_LABEL_STUDIO_ML" in \
        1) cp requirements.txt wanted.txt ;; \
        0) grep -v '^label-studio-ml' requirements.txt > wanted.txt ;; \
        *) echo "WITH_LABEL_STUDIO_ML is 0 or 1"; exit 1 ;; \
    esac \
    && grep -E '^(torch|torchvision)[<>=]' requirements.txt > torch.txt \
    && python -m venv --without-pip /opt/venv \
    && install="pip --python /opt/venv/bin/python install $PIP_ARGS" \
    && $install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r torch.txt \
    && $install -r wanted.txt

FROM packages AS application
# Names of networks whose published weights the image shall hold, separated by spaces.
ARG BAKE_BACKBONES=""
ENV TORCH_HOME=/weights \
    PATH=/opt/venv/bin:$PATH
WORKDIR /app
COPY backend ./backend
# hadolint ignore=SC2086
RUN python -m compileall -q backend \
    && mkdir -p /weights \
    && python -c 'import sys; from backend.vision.published import published_tensors; \
[published_tensors(name) for name in sys.argv[1:]]' $BAKE_BACKBONES

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="saliency-backend" \
    org.opencontainers.image.description="Label Studio backend: saliency maps, boxes, learning"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TORCH_HOME=/weights \
    DATA_DIR=/data \
    HOST=0.0.0.0 \
    PORT=9090 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY --from=application /app/backend ./backend
# Owned by the user who writes there: a named volume inherits content and owner.
COPY --from=application --chown=10001:10001 /weights /weights
RUN useradd --uid 10001 --no-create-home --home-dir /data backend \
    && mkdir -p /data \
    && chown 10001:10001 /data /weights

# By number: Kubernetes cannot tell whether a name is root. The root file system may be
# read-only: only these two folders and /tmp are written to.
USER 10001:10001
EXPOSE 9090

# Workers ask `probe worker` instead; the files in plugin_config/ do.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-m", "backend", "probe"]

# uvicorn ends with status 0 after SIGINT; Redis, workers and server in one container end
# the same way. compose starts `serve` and `worker` singly.
STOPSIGNAL SIGINT
CMD ["python", "-m", "backend", "up"]
