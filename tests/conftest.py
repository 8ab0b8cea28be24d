"""What the whole suite needs of the process that runs it."""

from __future__ import annotations

import signal

# A shell starts what runs in the background with Control-C ignored, and every program under test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
