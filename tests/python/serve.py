"""serve.py MODULE ARG…: runs a server's module until stdin ends, as it does when whoever started it is gone."""

import os
import runpy
import sys
import threading


def end_with_stdin():
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


if len(sys.argv) < 2:
    sys.exit(f"usage: {sys.argv[0]} MODULE [ARG…]")
sys.argv = sys.argv[1:]
threading.Thread(target=end_with_stdin, daemon=True).start()
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
