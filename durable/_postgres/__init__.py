"""What ``durable.embedded`` stands on: finding binaries, choosing an account, telling life.

Only files, processes and sockets; no SQL and no asyncio enter here.
"""

import sys

from ..errors import ConfigurationError

if sys.platform == "win32":
    raise ConfigurationError(
        "The embedded Postgres needs Unix sockets and file locks, which Windows does not give "
        "it: set DURABLE_DATABASE_URL to a Postgres that runs."
    )
