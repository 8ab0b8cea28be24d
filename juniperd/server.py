"""The socket's server: peer first, limits second, then one task per connection that cannot be answered at once.

A warm request is answered in the callback that read it: parsed, looked up and written without a task. A helper that
vanishes takes its task with it, never the flight that others wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from juniperd import wire
from juniperd.door import BACKLOG, Door, admit, program_of
from juniperd.errors import JuniperError, PeerRefused, ProtocolError
from juniperd.journal import Journal
from juniperd.leases import Held
from juniperd.model import Caller, CredentialRequest, Rejection
from juniperd.protocols import Reply, ToolProtocol, control
from juniperd.protocols.control import ControlRequest
from juniperd.uses import Uses
from juniperd.wire import Request

REQUEST_TIME = 10.0
"""Seconds a helper has to complete its request; ours sends it in one write."""
MAX_CONNECTIONS = 512
DRAIN_TIME = 5.0
TURNS_TO_ENTER = 4
"""Turns of the loop from asyncio's ``accept`` until the caller is counted in."""
MAX_PARSED = 1024
LARGEST_PARSED = 8192
"""Bytes of a request that is understood anew each time, so that what is remembered stays within bounds."""
MAX_FORMS = 64
"""Answers of one lease that are kept: a registry's name has many spellings."""
LONGEST_FORM = 512
"""Characters of a spelling whose answer is kept."""
_KEEP: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
"""Later Pythons unlink the socket they listened on; ours may be systemd's, and the door does it otherwise."""


class Lender(Protocol):
    """The broker, as the server needs it."""

    def warm(self, request: CredentialRequest) -> Held | None:
        """What can be answered at once."""

    async def lease(self, request: CredentialRequest, *, program: str = "") -> Held:
        """What has to be waited for."""

    async def reject(self, rejection: Rejection) -> None:
        """What a tool showed was not taken."""


Controls = Callable[[ControlRequest], AsyncGenerator[Mapping[str, object], None]]


def no_controls(_request: ControlRequest) -> AsyncGenerator[Mapping[str, object], None]:
    """What a debugging session's socket says to our own command line: it serves tools alone."""
    msg = "a session's socket answers tools alone"
    raise ProtocolError(msg, "unset JUNIPER_SOCKET, or set it to the agent's own socket")


@dataclass(frozen=True, slots=True)
class Witness:
    """Who hears of what was answered: the log, the counts, and whoever tells a person that a tool was turned away."""

    journal: Journal
    uses: Uses
    turned_away: Callable[[str, JuniperError], None] = lambda _helper, _error: None


class Server:
    """Serves one door until :meth:`shut`, and those inside until :meth:`drain` returns."""

    def __init__(
        self,
        door: Door,
        *,
        tools: Mapping[str, ToolProtocol],
        lender: Lender,
        controls: Controls,
        witness: Witness,
        rested: Callable[[], None] = lambda: None,
    ) -> None:
        self._rested = rested
        self.turned_away = witness.turned_away
        self._door = door
        self.tools = tools
        self.lender = lender
        self.controls = controls
        self.journal = witness.journal
        self.uses = witness.uses
        self._connections: set[Connection] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._parsed: dict[tuple[tuple[bytes, ...], tuple[tuple[str, str], ...], bytes], CredentialRequest] = {}
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_unix_server(
            lambda: Connection(self), sock=self._door.socket, backlog=BACKLOG, **_KEEP
        )

    async def shut(self) -> None:
        """Take no more callers; those whom the kernel has handed over already are inside when this returns."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._door.socket)
            # Closed at once it would hang up on whom asyncio has accepted and not yet given a transport.
            for _ in range(TURNS_TO_ENTER):
                await asyncio.sleep(0)
            self._listener.close()
        self._door.close()

    async def drain(self) -> None:
        """Let those inside finish for a few seconds, then end them."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), DRAIN_TIME)
        for connection in tuple(self._connections):
            connection.abort()

    def parse(self, tool: ToolProtocol, request: Request) -> CredentialRequest | Rejection | Reply:
        """What ``request`` asks for; parsing is pure, so a question that was understood once is remembered."""
        key = (request.argv, tuple(request.variables.items()), request.stdin)
        known = self._parsed.get(key)
        if known is not None:
            return known
        asked = tool.parse(request)
        if isinstance(asked, CredentialRequest) and _size(request) <= LARGEST_PARSED:
            if len(self._parsed) >= MAX_PARSED:
                self._parsed.clear()
            self._parsed[key] = asked
        return asked

    def enter(self, connection: Connection) -> bool:
        """Count a caller in; no more than fit."""
        if len(self._connections) >= MAX_CONNECTIONS:
            return False
        self._connections.add(connection)
        self._idle.clear()
        return True

    def leave(self, connection: Connection) -> None:
        """Count a caller out."""
        self._connections.discard(connection)
        if not self._connections:
            self._idle.set()
            self._rested()

    @property
    def occupied(self) -> bool:
        """Whether anybody is inside."""
        return bool(self._connections)


class Connection(asyncio.Protocol):
    """One caller: a request, then an answer."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._decoder = wire.Decoder()
        self._reader = wire.RequestReader()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._caller: Caller | None = None
        self._request: Request | None = None
        self._input: wire.InputReader | None = None
        self._complete = False
        self._task: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask who it is, and let only our own user in."""
        self._transport = cast("asyncio.Transport", transport)
        self._socket = transport.get_extra_info("socket")
        if not self._server.enter(self):
            self._finish(_failed("the agent has too many callers; try again", 75))
            return
        try:
            self._caller = admit(transport.get_extra_info("socket"))
        except PeerRefused as error:
            self._server.journal.note("peer_refused", reason=error.message)
            self._finish(_failed(str(error), error.exit_status))
            return
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(REQUEST_TIME, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """A piece of the request, or of the input that was asked for."""
        if self._caller is None or self._complete:
            return
        try:
            for frame in self._decoder.feed(data):
                if self._take(frame):
                    return
        except ProtocolError as error:
            self._complete = True
            self._finish(self._refused(error))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Gone, with or without its answer."""
        self._server.leave(self)
        if self._alarm is not None:
            self._alarm.cancel()
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        """Shut, whatever is unanswered."""
        if self._transport is not None:
            self._transport.abort()

    def _take(self, frame: wire.Frame) -> bool:
        """One more frame; whether it was the last, and is answered."""
        if self._request is not None and self._input is not None:
            given = self._input.take(frame)
            if given is None:
                return False
            self._answer(self._request._replace(stdin=given))
            return True
        if self._decoder.version not in wire.SPOKEN:
            msg = f"the helper speaks frame version {self._decoder.version}, this agent speaks {wire.VERSION}"
            raise ProtocolError(msg, "install helper and agent from one release, then run: juniper down; juniper up")
        self._request = self._reader.take(frame)
        if self._request is None:
            return False
        tool = self._server.tools.get(self._request.name)
        if tool is not None and self._request.arguments[:1] and self._request.arguments[0] in tool.INPUT:
            self._input = wire.InputReader()
            self._write(wire.encode(wire.Frame("s")))
            return False
        self._answer(self._request)
        return True

    def _refused(self, error: ProtocolError) -> bytes:
        """What broke the frames, in the words of the tool where it is known."""
        tool = self._server.tools.get(self._request.name) if self._request is not None else None
        if tool is not None and self._request is not None:
            return _frames(tool.render_error(error, self._request))
        return _failed(str(error), error.exit_status)

    def _answer(self, request: Request) -> None:
        self._complete = True
        if request.name == control.HELPER:
            self._begin(self._control(request))
            return
        tool = self._server.tools.get(request.name)
        if tool is None:
            names = ", ".join(sorted(self._server.tools))
            line = f"this agent serves {names} and not '{request.name}'; {ProtocolError.remedy}"
            self._finish(_failed(line, ProtocolError.exit_status))
            return
        scope = ""
        try:
            asked = self._server.parse(tool, request)
            scope = _scope(asked)
            held = self._server.lender.warm(asked) if isinstance(asked, CredentialRequest) else None
        except JuniperError as error:
            self._server.turned_away(tool.HELPER, error)
            self._server.uses.refuse(self._program(), tool.HELPER, scope, str(error))
            self._finish(_frames(tool.render_error(error, request)))
            return
        except Exception as error:  # noqa: BLE001 - a defect answers its caller and spares everybody else
            self._note(tool.HELPER, "", self._program(), error)
            self._finish(_frames(tool.render_error(_defect(error), request)))
            return
        if isinstance(asked, Reply):
            self._finish(_frames(asked))
        elif held is not None and isinstance(asked, CredentialRequest):
            self._server.uses.give(self._program(), tool.HELPER, held.lease.key)
            self._finish(_rendered(tool, held, asked.form))
        else:
            self._begin(self._serve(tool, request, asked))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(work)

    async def _serve(self, tool: ToolProtocol, request: Request, asked: CredentialRequest | Rejection) -> None:
        program = self._program()
        scope = _scope(asked)
        try:
            reply = await self._reply(tool, asked, program)
        except JuniperError as error:
            self._server.turned_away(tool.HELPER, error)
            self._note(tool.HELPER, scope, program, error)
            self._server.uses.refuse(program, tool.HELPER, scope, str(error))
            self._finish(_frames(tool.render_error(error, request)))
        except Exception as error:  # noqa: BLE001 - a defect answers its caller and spares everybody else
            self._note(tool.HELPER, scope, program, error)
            self._finish(_frames(tool.render_error(_defect(error), request)))
        else:
            self._note(tool.HELPER, scope, program, None)
            self._finish(reply)

    async def _reply(self, tool: ToolProtocol, asked: CredentialRequest | Rejection, program: str) -> bytes:
        if isinstance(asked, Rejection):
            await self._server.lender.reject(asked)
            return _frames(Reply())
        held = await self._server.lender.lease(asked, program=program)
        self._server.uses.give(program, tool.HELPER, held.lease.key)
        return _rendered(tool, held, asked.form)

    async def _control(self, request: Request) -> None:
        self._write(b"")
        try:
            asked = control.parse(request)
            async with contextlib.aclosing(self._server.controls(asked)) as events:
                async for event in events:
                    self._write(wire.encode_bytes("o", control.render_event(event)))
        except JuniperError as error:
            reply = control.render_error(error)
            self._finish(wire.encode_bytes("e", reply.stderr) + wire.encode_exit(reply.status))
        except Exception as error:  # noqa: BLE001 - as above
            self._server.journal.note("defect", kind=type(error).__name__)
            reply = control.render_error(_defect(error))
            self._finish(wire.encode_bytes("e", reply.stderr) + wire.encode_exit(reply.status))
        else:
            self._finish(wire.encode_exit(0))

    def _program(self) -> str:
        if self._socket is None or self._caller is None:
            return ""
        return program_of(self._socket, self._caller, self._server.tools)

    def _note(self, helper: str, scope: str, program: str, error: Exception | None) -> None:
        self._server.journal.note(
            "answered",
            helper=helper,
            scope=scope,
            pid=self._caller.pid if self._caller else 0,
            program=program,
            error=error.message if isinstance(error, JuniperError) else None if error is None else type(error).__name__,
        )

    def _too_slow(self) -> None:
        if not self._complete:
            self._complete = True
            late = ProtocolError(f"the request was not complete after {REQUEST_TIME:.0f} s", "try again")
            self._finish(self._refused(late))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data if self._greeted else self._greeting() + data)
            self._greeted = True

    def _greeting(self) -> bytes:
        """Our version byte: the helper's own where we speak it, so that one of the release before understands."""
        version = self._decoder.version
        return bytes([version if version in wire.SPOKEN else wire.VERSION])

    def _finish(self, data: bytes) -> None:
        self._write(data)
        if self._transport is not None:
            self._transport.close()


def _rendered(tool: ToolProtocol, held: Held, form: str) -> bytes:
    """A lease's answer, made once per lease, tool and form."""
    if len(form) > LONGEST_FORM:
        return _frames(tool.render(held.lease, form))
    data = held.replies.get((tool.HELPER, form))
    if data is None:
        if len(held.replies) >= MAX_FORMS:
            held.replies.clear()
        data = held.replies[tool.HELPER, form] = _frames(tool.render(held.lease, form))
    return data


def _scope(asked: CredentialRequest | Rejection | Reply) -> str:
    """The scope that a request names, if it names one."""
    return asked.scope if isinstance(asked, CredentialRequest) else ""


def _size(request: Request) -> int:
    variables = sum(len(value) for value in request.variables.values())
    return sum(len(word) for word in request.argv) + variables + len(request.stdin)


def _defect(error: Exception) -> JuniperError:
    """Something of ours broke; its text may hold anything, so only its kind is shown."""
    return JuniperError(f"juniperd failed inside ({type(error).__name__})", "report this, with the log of juniperd")


def _frames(reply: Reply) -> bytes:
    return b"".join(
        (
            wire.encode_bytes("e", reply.stderr),
            wire.encode_bytes("o", reply.stdout),
            wire.encode_exit(reply.status),
        )
    )


def _failed(line: str, status: int) -> bytes:
    return _frames(Reply(stderr=f"juniper: {line}\n".encode(), status=status))
