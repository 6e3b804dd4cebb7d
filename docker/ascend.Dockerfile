# Cairn beside Ascend NPUs: docker build -f docker/ascend.Dockerfile -t cairn:ascend .
# For 910C servers: --build-arg CHIP=a3. CANN, torch and torch_npu must fit together: give all versions when you change one.
ARG CANN=8.3.rc2
ARG CHIP=910b
FROM quay.io/ascend/cann:${CANN}-${CHIP}-ubuntu22.04-py3.11 AS cann

# Debian, because Cairn's set-up knows its packages. Its Python is 3.11, as that of the base image, and so are the wheels.
FROM debian:bookworm-slim AS build
ARG TORCH=2.13.0
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
# The last of these are what CANN's compiler of operators imports.
RUN python3 -m venv /opt/torch \
    && /opt/torch/bin/pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
       torch==${TORCH} torch-npu==${TORCH} numpy pyyaml attrs cloudpickle decorator psutil scipy sympy tornado
WORKDIR /opt/cairn
COPY . .
ENV CAIRN_TORCH=/opt/torch/lib/python3.11/site-packages/torch
RUN ./cairn help \
    && cmake --install build/release --prefix /opt/cairn/install \
    && rm -rf "$CAIRN_TORCH/include"

FROM debian:bookworm-slim
# HwHiAiUser owns the devices of a host; 1000 is its number where the driver was installed as its guide says.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libfmt9 libyaml-cpp0.7 libutf8proc2 libpcre2-8-0 libpng16-16 \
       libjpeg62-turbo libwebp7 libgomp1 python3 libpython3.11 g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 HwHiAiUser \
    && useradd --create-home --uid 10001 --groups HwHiAiUser cairn
COPY --from=cann /usr/local/Ascend /usr/local/Ascend
COPY --from=build /opt/torch /opt/torch
COPY --from=build /opt/cairn/install/bin/cairn /usr/local/bin/cairn
COPY --from=build /opt/cairn/install/share/cairn /usr/local/share/cairn
COPY docker/cairn-on-ascend /usr/local/bin/cairn-on-ascend
ENV PATH=/opt/torch/bin:${PATH} \
    CAIRN_TORCH_NPU=/opt/torch/lib/python3.11/site-packages/torch_npu \
    PYTORCH_NPU_ALLOC_CONF=expandable_segments:True
USER cairn
WORKDIR /home/cairn
EXPOSE 30000
ENTRYPOINT ["/usr/local/bin/cairn-on-ascend"]
CMD ["serve", "--host", "0.0.0.0"]
