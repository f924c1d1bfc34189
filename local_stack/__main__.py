"""`python -m local_stack up [--all | NAME ...]`, `down`, `status`: the command line behind the Makefile."""

from __future__ import annotations

import argparse
import logging
import sys

from local_stack.control import down, up
from local_stack.faults import StackError, in_words
from local_stack.layout import layout_from
from local_stack.stack import open_stack
from local_stack.status import render, rows


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="local_stack", description="Real servers as plain processes on this machine.")
    commands = root.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("up", help="start the core servers, or those that are named, and wait for health")
    starting.add_argument("--all", action="store_true", help="also those on demand: HiveServer2, Ray, Superset")
    starting.add_argument("--without", nargs="+", default=(), metavar="NAME", help="of these, leave out some")
    starting.add_argument("names", nargs="*", help="only these servers and what they need")
    commands.add_parser("down", help="stop all; the data stays")
    commands.add_parser("status", help="each server with its state, memory, address and health")
    return root


def run(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    stack = open_stack(layout_from())
    if options.command == "up":
        up(stack, options.names, options.all, options.without)
    elif options.command == "down":
        down(stack)
    else:
        table = rows(stack)
        print(render(table))
        return 1 if any(row.is_broken for row in table) else 0
    return 0


def main() -> int:
    try:
        return run(sys.argv[1:])
    except (StackError, OSError) as fault:
        print(f"lambda-dl: {in_words(fault)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lambda-dl: stopped; run the same command again", file=sys.stderr)
        return 130


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # client libraries log every probe that comes too early
    raise SystemExit(main())
