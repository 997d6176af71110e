"""How long the explorer takes to answer, over loopback, and what it holds in memory.

    .venv/bin/python -m benchmarks.explorer

The flows that come with the package, on one thread of torch. Each request is made 20 times, after one that is not
counted; then ten clients make them at once; then a thousand are made, and the memory is that of this process, server
and client. So is the processor's time, which says how long an answer takes where no other work is done.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import torch
import uvicorn

from benchmarks.machine import processor
from pushforward.explore import app

ASKED, CLIENTS, LONG = 20, 10, 1000
MASK = "00000000ffffffff"
REQUESTS = {
    "drag a point, moons": "moons/point?stage=0&x={x}&y=0.1",
    "drag a latent, moons": "moons/point?stage=10&x={x}&y=0.1",
    "drag a point, pinwheel": "pinwheel/point?stage=0&x={x}&y=0.1",
    "pick a digit": "digits/picked?picture=data:{i}",
    "25 samples of digits": "digits/gallery?of=samples&n=25&seed={i}",
    "25 guided samples": "digits/gallery?of=samples&n=25&guidance=1&seed={i}",
    "a line of nine digits": "digits/line?a=data:{i}&b=data:9&n=9",
    "a slider of an attribute, digits": "digits/edited?picture=data:0&amounts=3:{x}",
    "25 samples of fashion": "fashion/gallery?of=samples&n=25&seed={i}",
    "a slider of an attribute, fashion": "fashion/edited?picture=data:0&amounts=3:{x}",
    "pick an emoji": "emoji/picked?picture=data:{i}",
    "25 samples of emoji": "emoji/gallery?of=samples&n=25&seed={i}",
    "a slider of an attribute, emoji": "emoji/edited?picture=data:{i}&amounts=0:{x}",
    "ten steps of four chains": "digits/filled?picture=data:{i}&mask=" + MASK,
}


def ask(port: int, path: str) -> float:
    """Seconds until the whole answer is here. Raises RuntimeError where it is a refusal."""
    began = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", f"/api/runs/{path}")
    answer = connection.getresponse()
    json.loads(answer.read())
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path}: status {answer.status}")
    return time.perf_counter() - began


def filled(path: str, i: int) -> str:
    return path.format(i=i % 50, x=0.5 + i % 50 / 100)


def memory() -> float:
    """Of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(port: int) -> None:
    print("| request | median, ms | slowest, ms | processor, ms |\n|---|---|---|---|")
    for name, path in REQUESTS.items():
        ask(port, filled(path, 0))
        began = time.process_time()
        seconds = [ask(port, filled(path, i)) for i in range(ASKED)]
        times = statistics.median(seconds), max(seconds), (time.process_time() - began) / ASKED
        print(f"| {name} | {' | '.join(f'{1000 * of:.0f}' for of in times)} |", flush=True)
    every = [filled(path, i) for i in range(3) for path in REQUESTS.values()]
    with ThreadPoolExecutor(CLIENTS) as clients:
        seconds = [
            s for parts in clients.map(lambda _: [ask(port, path) for path in every], range(CLIENTS)) for s in parts
        ]
    print(f"\n{CLIENTS} clients at once: {len(seconds)} requests, none lost, the slowest {max(seconds):.1f} s")
    quick = [path for name, path in REQUESTS.items() if "moons" in name or name.startswith(("pick", "a slider"))]
    before = memory()
    for i in range(LONG):
        ask(port, filled(quick[i % len(quick)], i))
    print(f"{LONG:,} requests more: {before:.0f} MB before, {memory():.0f} MB after")


def main() -> None:
    torch.set_num_threads(1)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app(), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    print(f"{processor(torch.device('cpu'))}, load {os.getloadavg()[0]:.1f}\n")
    try:
        measure(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
