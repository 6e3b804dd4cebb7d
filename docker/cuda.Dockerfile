# Cairn beside NVIDIA GPUs: docker build -f docker/cuda.Dockerfile -t cairn:cuda .
# CUDA is that of the torch wheel: give both versions when you change one.
ARG CUDA=13.0.1
FROM nvidia/cuda:${CUDA}-devel-ubuntu24.04 AS cuda

# Debian, because Cairn's set-up knows its packages; nvcc runs on it as it is.
FROM debian:bookworm-slim AS build
ARG TORCH=2.13.0
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY --from=cuda /usr/local/cuda /usr/local/cuda
ENV PATH=/usr/local/cuda/bin:${PATH}
# No GPU answers while an image is built, so the set-up would take the processor's wheel.
RUN python3 -m venv /opt/torch \
    && /opt/torch/bin/pip install --no-cache-dir torch==${TORCH}
WORKDIR /opt/cairn
COPY . .
ENV CAIRN_TORCH=/opt/torch/lib/python3.11/site-packages/torch
RUN ./cairn help \
    && cmake --install build/release --prefix /opt/cairn/install \
    && rm -rf "$CAIRN_TORCH/include"

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libfmt9 libyaml-cpp0.7 libutf8proc2 libpcre2-8-0 libpng16-16 \
       libjpeg62-turbo libwebp7 libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 cairn
COPY --from=build /opt/torch/lib /opt/torch/lib
COPY --from=build /opt/cairn/install/bin/cairn /usr/local/bin/cairn
COPY --from=build /opt/cairn/install/share/cairn /usr/local/share/cairn
# The driver's libraries come from the host, by NVIDIA's container toolkit, which reads these.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER cairn
WORKDIR /home/cairn
EXPOSE 30000
ENTRYPOINT ["/usr/local/bin/cairn"]
CMD ["serve", "--host", "0.0.0.0"]
