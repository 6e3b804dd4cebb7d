# Cairn on processors, x86-64 or ARM: docker build -f docker/cpu.Dockerfile -t cairn:cpu .
FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/cairn
COPY . .
# Cairn's own set-up: packages, libtorch by pip into build/torch, the build.
RUN ./cairn help \
    && cmake --install build/release --prefix /opt/cairn/install

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libfmt9 libyaml-cpp0.7 libutf8proc2 libpcre2-8-0 libpng16-16 \
       libjpeg62-turbo libwebp7 libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 cairn
# Where the program looks for it: the folder that it was built with.
COPY --from=build /opt/cairn/build/torch/torch/lib /opt/cairn/build/torch/torch/lib
COPY --from=build /opt/cairn/build/torch/torch/version.py /opt/cairn/build/torch/torch/version.py
COPY --from=build /opt/cairn/install/bin/cairn /usr/local/bin/cairn
COPY --from=build /opt/cairn/install/share/cairn /usr/local/share/cairn
USER cairn
WORKDIR /home/cairn
EXPOSE 30000
ENTRYPOINT ["/usr/local/bin/cairn"]
CMD ["serve", "--host", "0.0.0.0"]
