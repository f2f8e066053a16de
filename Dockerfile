# docker build -t pointsman .
# No secret is needed to build it, and none is in it: keys come from the environment, access keys from the store or a file.
FROM python:3.13-slim AS build
ARG EXTRAS=litellm,postgres,otel
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY core core
COPY backends backends
COPY serve serve
RUN python -m venv /opt/pointsman \
    && /opt/pointsman/bin/pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

FROM python:3.13-slim
RUN useradd --uid 10001 --shell /usr/sbin/nologin --create-home --home-dir /var/lib/pointsman pointsman
COPY --from=build /opt/pointsman /opt/pointsman
COPY deploy/pointsman.yaml /etc/pointsman/pointsman.yaml
ENV PATH=/opt/pointsman/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /var/lib/pointsman
VOLUME /var/lib/pointsman
EXPOSE 6060
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:6060/health', timeout=2)"]
ENTRYPOINT ["pointsman"]
CMD ["serve", "--config", "/etc/pointsman/pointsman.yaml"]
