"""The application of one worker process, for uvicorn (see ``__main__``).

Predict requests are answered on the worker's event loop, everything else by Flask behind it (see ``front``).
"""

from speed_service.app import service_of
from speed_service.entry import build
from speed_service.front import Front

_flask = build()
app = Front(_flask, service_of(_flask))
