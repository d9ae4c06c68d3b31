# Panopticon without the embedded server: give DATABASE_URL, as compose.yaml does. No shell is needed to run it.
#
#   packaging/build-image        or        docker build -t panopticon .

ARG RUST=rust:1.95-slim-trixie
ARG BASE=debian:trixie-slim

FROM ${RUST} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG COMMIT=
RUN PANOPTICON_COMMIT=${COMMIT} cargo build --release --locked --package panopticon \
    && strip target/release/panopticon \
    && mv target/release/panopticon /usr/local/bin/

# The demo downloads the model, and shows that the program works.
FROM build AS model
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/*
RUN panopticon --data-dir /var/lib/panopticon demo

FROM ${BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --home-dir /var/lib/panopticon panopticon \
    && install --directory --owner panopticon --group panopticon --mode 0700 /var/lib/panopticon
COPY --from=build /usr/local/bin/panopticon /usr/local/bin/
COPY --from=model /var/lib/panopticon/models/all-MiniLM-L6-v2 /usr/share/panopticon/model
ENV PANOPTICON_BIND=0.0.0.0 \
    PANOPTICON_DATA_DIR=/var/lib/panopticon \
    PANOPTICON_MODEL_DIR=/usr/share/panopticon/model
USER 10001:10001
WORKDIR /var/lib/panopticon
EXPOSE 8000 8001 8002 8003
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["panopticon", "health"]
ENTRYPOINT ["panopticon"]
CMD ["serve"]
