# Two stages: the first has the compiler, the second only what the server needs to run.
#   docker build -t stowage .
#   docker run --rm -p 8000:8000 -v "$PWD/Models:/models:ro" stowage

FROM docker.io/library/swift:6.3-bookworm AS build
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends \
      libdnnl-dev libsimdjson-dev libcurl4-openssl-dev libssl-dev zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
# The tests are named in the manifest, so their folders must exist; only Sources is compiled.
COPY Package.swift ./
COPY Sources ./Sources
COPY Tests ./Tests
RUN swift build -c release --product stowage --static-swift-stdlib \
 && install -s -D "$(swift build -c release --static-swift-stdlib --show-bin-path)/stowage" \
      /out/stowage

FROM docker.io/library/debian:bookworm-slim
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends libdnnl2 libsimdjson14 libcurl4 libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/stowage --create-home \
      --shell /usr/sbin/nologin stowage \
 && install -d -o stowage -g stowage /var/lib/stowage/.cache
COPY --from=build /out/stowage /usr/local/bin/stowage
COPY Models /models
USER 10001
WORKDIR /var/lib/stowage
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["/usr/local/bin/stowage", "healthcheck", "--url", "http://127.0.0.1:8000"]
ENTRYPOINT ["/usr/local/bin/stowage"]
CMD ["serve", "--models", "/models", "--host", "0.0.0.0", "--port", "8000"]
