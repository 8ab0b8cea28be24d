"""Every transcript, through every form of the helper, with the agent's bytes at once and one by one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from .programs import Helper, Outcome, ended
from .scripted import ScriptedAgent
from .transcript import FOLDER, Transcript, parse

FILES = sorted(FOLDER.glob("*.txt"))


def test_there_are_transcripts() -> None:
    assert len(FILES) > 20


@pytest.mark.parametrize("by_bytes", [False, True], ids=["at-once", "by-bytes"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_transcript(helper: Helper, folder: Path, env: dict[str, str], *, file: Path, by_bytes: bool) -> None:
    transcript = parse(file.read_text())
    reader, writer = os.pipe()
    os.write(writer, transcript.texts.get("stdin", b""))
    os.close(writer)
    with ScriptedAgent(folder / "agent.sock", transcript.script(by_bytes=by_bytes)), os.fdopen(reader, "rb") as stdin:
        one_screen = subprocess.STDOUT if "screen" in transcript.texts else subprocess.PIPE
        call = helper.start(*transcript.arguments, env=env | transcript.variables, stdin=stdin, stderr=one_screen)
        outcome = ended(call)
        left = stdin.read()
    assert outcome == expected(transcript)
    assert left == transcript.texts.get("left", b"")


def expected(transcript: Transcript) -> Outcome:
    """What the transcript says that the tool sees."""
    texts = transcript.texts
    return Outcome(transcript.status, texts.get("screen", texts.get("stdout", b"")), texts.get("stderr", b""))
