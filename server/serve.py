"""`antiphon serve`: bind, load, serve, drain, exit 0."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp

from pipeline.errors import GoingAway, StartError, first_error
from server import collector, logs, peer, settings, settings_help
from server.app import build_house, create_app
from server.drain import drain
from server.house import House
from server.peer import PeerProtocol, http_peer

log = structlog.get_logger(__name__)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`serve` and its help, which lists every setting."""
    parser = commands.add_parser(
        "serve",
        help="run the server",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run the voice chat server.",
        epilog=settings_help.epilog(),
    )
    parser.add_argument("--host", help="address to listen on (ANTIPHON_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on (ANTIPHON_PORT)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal; 0 after it, whenever it came, 1 when the server could not start."""
    try:
        chosen = settings.load(host=args.host, port=args.port)
        logs.configure(chosen.log_level, chosen.log_format)
        with (
            bound(chosen.host, chosen.port) as listener,
            asyncio.Runner(loop_factory=_new_loop) as runner,
        ):
            runner.run(serve(chosen, listener))
    except GoingAway as told:
        log.info("stopped_before_ready", why=str(told))
    except StartError as error:
        print(f"antiphon: {error}", file=sys.stderr)
        return 1
    return 0


async def serve(chosen: settings.Settings, listener: socket.socket) -> None:
    """Serve on the bound socket until drained. Raises as `running`."""
    host, port = listener.getsockname()[:2]
    shown = "localhost" if host in ("127.0.0.1", "0.0.0.0") else host
    async with running(chosen, listener) as (house, stopped):
        collector.freeze()
        if not chosen.authenticates and not chosen.on_loopback:
            log.warning("anybody_may_enter", host=chosen.host, mend="ANTIPHON_AUTH_SECRET")
        if house.stage == "ready":  # and was not told to stop while it loaded
            print(f"Antiphon is ready: http://{shown}:{port}/", flush=True)
        await stopped


@asynccontextmanager
async def running(
    chosen: settings.Settings, listener: socket.socket, house: House | None = None
) -> AsyncIterator[tuple[House, asyncio.Task[None]]]:
    """A server on the bound socket: its house, once loaded, and the task that ends with it.

    While it loads it answers already, with 503. Leaving the scope stops it. `house`: one with other
    engines than the settings name. Raises `StartError`, and `GoingAway` when told to stop while it
    loads.
    """
    house = house or build_house(chosen)
    server = _Server(stack(create_app(house), house.unread), house)
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.serve([listener]))
            try:
                async with house.open():
                    try:
                        yield house, serving
                    finally:
                        server.should_exit = True
                        await asyncio.shield(serving)
            finally:
                server.should_exit = True
    except ExceptionGroup as group:
        raise first_error(group) from group


def stack(
    app: ASGIApp, unread: Callable[[str, str], None] = lambda why, who: None
) -> uvicorn.Config:
    """What stands between an application and its sockets; `unread` is told of input that is no
    HTTP, with a reason of the gate's and the peer's address."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        http=http_peer(unread),
        ws=PeerProtocol,
        ws_max_size=peer.MESSAGE_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=peer.PING_EVERY_S,
        ws_ping_timeout=peer.PONG_WITHIN_S,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


class _Server(uvicorn.Server):
    """uvicorn, with our own way to stop: drain first, close sockets afterwards."""

    def __init__(self, config: uvicorn.Config, house: House) -> None:
        super().__init__(config)
        self._house = house
        self._drain: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first SIGTERM or SIGINT drains, the second stops at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        if self._drain is not None:
            self.force_exit = self.should_exit = True
            return
        self._drain = asyncio.get_running_loop().create_task(self._drained())

    async def _drained(self) -> None:
        try:
            await drain(self._house)
        except Exception:
            log.exception("drain_failed")
        finally:  # a server that was told to stop does
            self.should_exit = True


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket, before anything is loaded: a taken port is known at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartError(
            f"cannot listen on {host}:{port} ({error.strerror}); "
            "choose another with --port or ANTIPHON_PORT"
        ) from None
    try:
        yield listener
    finally:
        listener.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    """Uvloop's where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
