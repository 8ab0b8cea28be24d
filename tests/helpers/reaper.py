"""Runs one program N times at once, and ends only when all that those left behind has ended: `reaper.py N PROGRAM`.

What a helper starts is nobody's child, so a test could not wait for it; here it becomes this process's.
"""

import ctypes
import json
import os
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Prints [status, stdout, stderr] of each run as one JSON list."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("this kernel has no subreapers")
    runs = [
        subprocess.Popen([sys.argv[2]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(int(sys.argv[1]))
    ]
    outputs = [run.communicate() for run in runs]
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    print(json.dumps([(run.returncode, *output) for run, output in zip(runs, outputs, strict=True)]))


if __name__ == "__main__":
    main()
