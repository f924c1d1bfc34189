"""The quickest server there is in plain Python, to find the generator's own ceiling: ``trivial.py PORT``.

Answers every request at once with the same bytes, as long as a one-row answer of ours.
"""

import asyncio
import sys

BODY = b'{"model_id":"' + b"0" * 64 + b'","predictions":[{"id":"-","probability":0.5,"as_of":{},"degraded":false}]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Trivial(asyncio.Protocol):
    """One connection; takes every piece of data for one request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self.transport.write(ANSWER)


async def serve(port: int) -> None:
    """Until killed."""
    server = await asyncio.get_running_loop().create_server(Trivial, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
