"""A desktop of the test's own: a private D-Bus, and on it somebody who shows notices and keeps what they said."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jeepney import DBusAddress, HeaderFields, MessageType, new_error, new_method_call, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from juniperd.notification import NAME


class Desktop:
    """Answers ``Notify`` as the specification says, unless it is to be silent; refuses what is no such call."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.silent = False
        self.shown: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self._connection = open_dbus_connection(bus=address)
        self._connection.send_and_get_reply(message_bus.RequestName(NAME))
        self._thread = threading.Thread(target=self._serve, args=(self._connection,), daemon=True)
        self._thread.start()

    def said(self) -> tuple[Any, ...]:
        """The next notice; waits for it."""
        return self.shown.get(timeout=20)

    def close(self) -> None:
        """Leave the bus."""
        self._connection.send(_leave(self._connection.unique_name))
        self._thread.join(5)
        self._connection.close()

    def _serve(self, connection: DBusConnection) -> None:
        while True:
            call = connection.receive()
            fields = call.header.fields
            if call.header.message_type is not MessageType.method_call:
                continue
            if fields.get(HeaderFields.member) == "Leave":
                return
            if (fields.get(HeaderFields.member), fields.get(HeaderFields.signature)) != ("Notify", "susssasa{sv}i"):
                connection.send(new_error(call, "org.freedesktop.DBus.Error.InvalidArgs"))
                continue
            self.shown.put(call.body)
            if not self.silent:
                connection.send(new_method_return(call, "u", (self.shown.qsize(),)))


def _leave(name: str) -> Any:
    return new_method_call(DBusAddress("/", bus_name=name, interface="test.Desktop"), "Leave")


@contextmanager
def desktop(address: str) -> Iterator[Desktop]:
    """Somebody who shows notices, to the end of the block."""
    made = Desktop(address)
    try:
        yield made
    finally:
        made.close()
