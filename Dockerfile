# A server for several people, on Linux; it asks for the token in /workspace/token, made at the first start.
#
#   docker build -t slideloop .
#   docker run -p 8765:8765 -v /data/slides:/slides:ro -v slideloop:/workspace slideloop \
#       --allowed-host slides.example --map '/data/slides=/slides'
#
# With a card: docker build --build-arg TORCH=https://download.pytorch.org/whl/cu128, docker run --gpus all.

FROM python:3.12-slim

ARG TORCH=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir torch torchvision --index-url "$TORCH"

COPY pyproject.toml README.md LICENSE /build/
COPY server /build/server
COPY qupath_scripts /build/qupath_scripts
RUN pip install --no-cache-dir /build && rm -rf /build

RUN useradd --create-home slideloop && install -d -o slideloop /workspace /slides
USER slideloop
ENV SLIDELOOP_WORKSPACE=/workspace TORCH_HOME=/workspace/torch
VOLUME /workspace
EXPOSE 8765
ENTRYPOINT ["slideloop", "serve", "--host", "0.0.0.0", "--require-token", "--slides-root", "/slides"]
