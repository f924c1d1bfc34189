"""The WSGI entry, for servers that know nothing else: Flask answers every path. The usual entry is ``asgi``."""

from speed_service.entry import build

app = build()
