# One image for searching and serving: the driver, Ray nodes (cluster.yaml, KubeRay) and the devcontainer.
#   docker build -t lft-ray .                                                        the index's own torch
#   docker build -t lft-ray --build-arg TORCH="torch==2.13.0 --index-url URL" .      a build for CPU or another CUDA
#   docker run --rm -v "$PWD:/workspace" lft-ray check tickets.yaml
#   docker run --rm --shm-size=2g -p 8000:8000 -e LFT_API_KEYS=a-long-secret -v "$PWD:/workspace" lft-ray \
#     deploy runs/tickets --foreground --set serve.host=0.0.0.0
FROM python:3.11-slim-bookworm AS build

ARG TORCH="torch==2.13.0"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/lft
WORKDIR /src
# What changes rarely comes first: a change of the code then costs one layer of a few MB.
RUN /opt/lft/bin/pip install ${TORCH}
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY lft_ray/__init__.py lft_ray/__init__.py
# The samples of `lft quickstart`, which the wheel contains.
COPY experiments/quickstart.yaml experiments/quickstart.yaml
COPY experiments/data/news.csv experiments/data/news.csv
RUN /opt/lft/bin/pip install -c constraints.txt '.[offline]' && /opt/lft/bin/pip uninstall --yes lft-ray
COPY lft_ray lft_ray
RUN /opt/lft/bin/pip install --no-deps .

FROM python:3.11-slim-bookworm AS runtime

# procps: Ray looks at processes with ps. libgomp1: OpenMP of torch and scikit-learn.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 procps \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 lft \
    && install --directory --owner=lft --group=lft /workspace
COPY --from=build /opt/lft /opt/lft
ENV PATH=/opt/lft/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=passive \
    GOMP_SPINCOUNT=0 \
    RAY_USAGE_STATS_ENABLED=0
USER lft
WORKDIR /workspace
EXPOSE 8000
ENTRYPOINT ["lft"]
CMD ["--help"]

# For .devcontainer: what `make setup` needs beside Python.
FROM runtime AS dev
USER root
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
USER lft

# Last, so that it is what a plain `docker build` makes.
FROM runtime
