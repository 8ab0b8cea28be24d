"""A notice on the person's desktop, over the D-Bus of their session (freedesktop.org Desktop Notifications 1.2)."""

from __future__ import annotations

from dataclasses import dataclass

LIMIT = 3.0
"""Seconds the bus may take for each of its answers."""
NAME = "org.freedesktop.Notifications"
PATH = "/org/freedesktop/Notifications"
APP = "Juniper"
_BY_THE_SERVER = -1
"""How long it stands: as the person has set their desktop."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What is shown: a headline and one line. Both stand on a screen that others see, so neither names anybody."""

    headline: str
    line: str


def show(notice: Notice, address: str) -> None:
    """Show it by whoever shows notices on the bus at ``address``. Blocks; raises whatever the bus brings about."""
    from jeepney import DBusAddress, new_method_call
    from jeepney.io.blocking import open_dbus_connection
    from jeepney.wrappers import unwrap_msg

    desktop = DBusAddress(PATH, bus_name=NAME, interface=NAME)
    actions: list[str] = []
    hints: dict[str, tuple[str, object]] = {}
    body = (APP, 0, "", notice.headline, notice.line, actions, hints, _BY_THE_SERVER)
    call = new_method_call(desktop, "Notify", "susssasa{sv}i", body)
    with open_dbus_connection(bus=address, auth_timeout=LIMIT) as bus:
        unwrap_msg(bus.send_and_get_reply(call, timeout=LIMIT))
