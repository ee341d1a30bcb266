# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pausing and recovering on a destination whose main loop may hang; without the monitor for it, through libvirt."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .._host import domain as domains
from .._host import oob
from .._host.endpoints import free_listener
from .._host.qmp import ConnectionFailed, NoAnswer, QmpError
from .._libvirt import libvirt
from .phases import Phase
from .session import Session

ABSENT = "a destination that hangs cannot be recovered, because it has no monitor for out-of-band commands"


def start(session: Session, xml: str) -> None:
    """Start the destination's QEMU, with the monitor if the host lets it have one.

    :param xml: the guest's on the source.
    :raises libvirt.libvirtError: the host cannot hold the guest.
    """
    connection = session.destination.host.connection()
    socket_path = oob.place(ElementTree.fromstring(xml).findtext("uuid", ""))
    try:
        oob.make_place(socket_path, connection.getCapabilities())
        session.stack.callback(clear, session, socket_path)
        wanted = domains.incoming_xml(xml, *oob.arguments(socket_path))
        connection.createXML(wanted, libvirt.VIR_DOMAIN_START_PAUSED)
        connect(session, socket_path)
    except (OSError, libvirt.libvirtError) as error:  # e.g. QEMU is confined to other directories
        connection.createXML(domains.incoming_xml(xml), libvirt.VIR_DOMAIN_START_PAUSED)
        session.report(f"{ABSENT}: {error}")


def connect_again(session: Session) -> None:
    """Use the monitor of a destination that an earlier call started."""
    connect(session, left_over(session))


def left_over(session: Session) -> Path:
    """Where an earlier call made a socket, if it did; this call sees to it from now on."""
    with session.destination.translated():
        socket_path = oob.place(session.destination.domain.UUIDString())
    session.stack.callback(clear, session, socket_path)
    return socket_path


def connect(session: Session, socket_path: Path) -> None:
    """Hold the monitor open for as long as this call needs it; say so if it cannot be used."""
    try:
        session.oob = oob.connect(socket_path)
    except ConnectionFailed as error:
        session.report(f"{ABSENT}: {error}")
    else:
        session.stack.callback(session.oob.close)


def clear(session: Session, socket_path: Path) -> None:
    """Remove the socket, unless a later call needs it to bring the guest home."""
    if not session.now.switched or session.now.phase in (Phase.COMPLETED, Phase.LOST):
        oob.remove_place(socket_path)


def destination_status(session: Session, source: str | None) -> str | None:
    """The destination's MigrationStatus, which is the source's if its main loop hangs; None if QEMU is gone.

    :raises NoAnswer: all of QEMU hangs, or it cannot be known.
    """
    try:
        return session.status(session.destination)
    except NoAnswer:
        if session.oob is None or source not in oob.SHARED:
            raise
        session.oob.check()
        return source


def pause(session: Session) -> None:
    """Pause the migration on the destination.

    :raises QmpError: it is paused, or over.
    """
    _execute(session, "migrate-pause")


def listen_again(session: Session) -> tuple[str, int]:
    """Make a paused destination listen for the source; returns the URI to connect to, and the port.

    :raises ConnectionFailed: no port is free.
    """
    with suppress(QmpError):  # it has noticed by itself that the connection is broken
        pause(session)
    address = session.options.migration_address
    # QEMU's choice of a port would have to be asked for, which takes its main loop.
    try:
        with free_listener(address, session.options.ports) as probe:
            port: int = probe.getsockname()[1]
    except OSError as error:
        raise ConnectionFailed(
            f"cannot listen on {address}, ports {session.options.migration_ports}: {error}"
        ) from error
    uri = f"tcp:[{address}]:{port}" if ":" in address else f"tcp:{address}:{port}"
    _execute(session, "migrate-recover", uri=uri)
    return uri, port


def _execute(session: Session, command: str, **arguments: Any) -> None:
    if session.oob is not None:
        try:
            session.oob.execute(command, **arguments)
            return
        except NoAnswer:
            raise
        except ConnectionFailed as error:
            session.report(f"using libvirt instead: {error}")
            session.oob = None
    session.destination.execute(command, **arguments)
