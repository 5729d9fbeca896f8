"""Keys as they are pressed, without waiting for Enter: POSIX by termios, Windows by msvcrt.

They are polled. A terminal cannot be waited for everywhere (kqueue on macOS refuses some, and a console of Windows is no
socket), and twenty looks a second cost nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

POLL_S: Final = 0.05

_ESCAPED: Final = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down"}
"""What a terminal sends for the arrow keys, in its two modes (ECMA-48 CSI; DECCKM)."""

_SPECIAL: Final = {"H": "up", "P": "down"}
"""What msvcrt.getwch returns after "\\x00" or "\\xe0" for the arrow keys (Microsoft, `_getwch`)."""

_READ_BYTES: Final = 1024


class Keys(Protocol):
    """Where keys come from."""

    def pressed(self) -> list[str]:
        """Return the keys that were pressed since it was last asked."""
        ...


def decoded(text: str) -> list[str]:
    """Return the keys in what a terminal sent: letters as they are, `up`, `down`, `enter`; what is unknown is left out."""
    keys: list[str] = []
    at = 0
    while at < len(text):
        known = next((sequence for sequence in _ESCAPED if text.startswith(sequence, at)), None)
        if known is not None:
            keys.append(_ESCAPED[known])
        elif text[at] in "\r\n":
            keys.append("enter")
        elif text[at].isprintable():
            keys.append(text[at])
        elif text[at] == "\x1b":  # a sequence that we do not know must not become the letters in it
            break
        at += len(known) if known is not None else 1
    return keys


if sys.platform == "win32":
    import msvcrt

    class _Console:
        """Reads the console."""

        def pressed(self) -> list[str]:
            """Return the keys that were pressed since it was last asked."""
            keys: list[str] = []
            while msvcrt.kbhit() and len(keys) < _READ_BYTES:
                letter = msvcrt.getwch()
                if letter in "\x00\xe0":
                    keys.append(_SPECIAL.get(msvcrt.getwch(), ""))
                else:
                    keys += decoded(letter)
            return [key for key in keys if key]

    @contextmanager
    def open_keys() -> Iterator[Keys]:
        """Read keys inside the block."""
        yield _Console()

else:
    import os
    import select
    import termios
    import tty

    class _Terminal:
        """Reads a terminal that hands keys over at once."""

        def __init__(self, descriptor: int) -> None:
            self._descriptor = descriptor

        def pressed(self) -> list[str]:
            """Return the keys that were pressed since it was last asked. A terminal that has gone is `q`."""
            readable, _, _ = select.select([self._descriptor], [], [], 0)
            if not readable:
                return []
            data = os.read(self._descriptor, _READ_BYTES)
            return decoded(data.decode("utf-8", "ignore")) if data else ["q"]

    @contextmanager
    def open_keys() -> Iterator[Keys]:
        """Read keys inside the block; after it the terminal is as it was.

        Ctrl-C still interrupts. Ctrl-Z does not stop: the shell would come back to a screen that is not its own.
        """
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        tty.setcbreak(descriptor)
        ours = termios.tcgetattr(descriptor)
        ours[6][termios.VSUSP] = b"\x00"
        termios.tcsetattr(descriptor, termios.TCSANOW, ours)
        try:
            yield _Terminal(descriptor)
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
