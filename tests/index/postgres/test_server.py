"""A server behind a real PgBouncer: sessions are needed, so its mode `session` works, and `transaction` is refused."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from psycopg import conninfo

from app import ConversationStore, Settings
from app.errors import IndexUnusable
from tests.builders import make_conversation
from tests.deploy.recipes import free_port

pytestmark = [
    pytest.mark.long,
    pytest.mark.postgres,
    pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="NOT TRIED: pgbouncer is not installed"),
]


@contextmanager
def bouncer(url: str, mode: str) -> Iterator[str]:
    """Run PgBouncer before a server, and yield its URL."""
    parts, port = conninfo.conninfo_to_dict(url), free_port()
    with TemporaryDirectory(prefix="bouncer-") as name:
        directory = Path(name)
        owner = next(one for one in ("pgserver", "postgres") if one in {user.pw_name for user in pwd.getpwall()})
        shutil.chown(directory, owner)
        file = directory / "pgbouncer.ini"
        file.write_text(
            f"[databases]\n* = host={parts['host']} port={parts.get('port') or 5432} user={parts['user']}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n"
            "default_pool_size = 40\nignore_startup_parameters = extra_float_digits\n"
        )
        with subprocess.Popen(["pgbouncer", "--quiet", f"--user={owner}", file], stderr=subprocess.DEVNULL) as process:
            try:
                there = f"postgresql://{parts['user']}@127.0.0.1:{port}/{parts['dbname']}"
                _wait(there)
                yield there
            finally:
                process.terminate()


def _wait(url: str) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            assert time.monotonic() < until
            time.sleep(0.02)
        else:
            return


async def test_a_pooler_that_keeps_sessions_is_used(tmp_path: Path, postgres_url: str, schema: str) -> None:
    make_conversation(tmp_path)
    with bouncer(postgres_url, "session") as url:
        settings = Settings(store=tmp_path, index_url=url, index_schema=schema)
        async with ConversationStore.open(settings) as store:
            await store.sync()
            assert (await store.get_status())[1].conversations == 1


async def test_a_pooler_that_shares_sessions_is_refused(tmp_path: Path, postgres_url: str, schema: str) -> None:
    with bouncer(postgres_url, "transaction") as url:
        settings = Settings(store=tmp_path, index_url=url, index_schema=schema)
        with pytest.raises(IndexUnusable, match="set its mode to session"):
            async with ConversationStore.open(settings):
                pass
