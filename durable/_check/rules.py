"""What ``durable check`` knows: a table of rules, and a table of names that break them.

A rule says what is wrong, why, and what to write instead; docs/check.md shows the same table, and a
test compares the two. Most rules are found by the name of what is called (``time.time``): those
names stand in :data:`NAMED`. The others have a look of their own in this room.

A name is the dotted one of where a thing is defined or usually imported from. ``X.y`` also means
the method ``y`` of an instance of ``X``, ``X.*`` all that is in X, unless a longer name says
otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from .._core.refusals import OUTWARD

Level = Literal["error", "warning"]


class Rule(NamedTuple):
    """``level`` is a *warning* where it hurts some workflows only, or only in time."""

    code: str
    level: Level
    what: str
    why: str
    instead: str


RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule("DUR101", "error", "a clock is read",
             "it is not recorded, so a replay reads another time",
             "Use `ctx.now()`"),
        Rule("DUR102", "error", "the machine's time zone decides",
             "another worker may stand in another one",
             "Give the zone, as in `astimezone(ZoneInfo(\"Europe/Berlin\"))`"),
        Rule("DUR103", "error", "chance is drawn",
             "it is not recorded, so a replay draws another number",
             "Use `ctx.random`, or an activity for what must stay secret"),
        Rule("DUR104", "error", "an id is made by chance or clock",
             "it is not recorded, so a replay makes another id",
             "Use `ctx.uuid4()`"),
        Rule("DUR105", "error", "the thread sleeps",
             "it holds up all runs of the worker, again on each replay",
             "Use `await ctx.sleep(...)`"),
        Rule("DUR201", "error", "I/O",
             "it is done again on each replay, and may then end otherwise",
             "Do it in an activity: `await ctx.activity(...)`"),
        Rule("DUR202", "warning", "the process's surroundings are read",
             "a replay may run on another machine, after another deploy",
             "Read it in an activity, or pass it to the workflow as an argument"),
        Rule("DUR203", "error", "threads and processes",
             "they run at moments that no replay can repeat",
             "Make it a (plain) @activity, which runs in a thread of its own"),
        Rule("DUR204", "error", "another event loop, or a change to this one",
             "a workflow runs on a loop of its own, whose order a replay repeats",
             "Await it plainly, or do it in an activity"),
        Rule("DUR205", "error", "a bare future or task",
             "it hashes by its address, and is not cancelled with the rest",
             "Use `asyncio.get_running_loop().create_future()` or `asyncio.create_task(...)`"),
        Rule("DUR301", "error", "the order of a set decides",
             "a set of strings or objects has another order in every process",
             "Use `sorted(...)`, or a list or `dict.fromkeys(...)`, which keep their order"),
        Rule("DUR302", "error", "an address or a hash decides",
             "`id()`, and `hash()` of text, are others in every process",
             "Use a value of your own, or `hashlib`"),
        Rule("DUR401", "error", "a global is changed",
             "all runs of the process share it, and a replay changes it once more",
             "Keep it in a variable of the workflow, or in an activity's database"),
        Rule("DUR402", "error", "a global is read that an activity changes",
             "a replay does not run the activity again, so it reads another value",
             "Return the value from the activity"),
        Rule("DUR403", "error", "a default argument is changed",
             "the next call, in any run of the process, begins with what this one left",
             "Let the default be None, and make a new one inside"),
        Rule("DUR404", "error", "a lock, event or queue made outside",
             "all runs of the process share it, and each has a loop of its own",
             "Make it inside the workflow; between runs, send signals"),
        Rule("DUR501", "error", "an activity is called directly",
             "its result would not be recorded, so the call is refused",
             "Use `await ctx.activity(...)`"),
        Rule("DUR502", "error", "`ctx` is given what it cannot run",
             "the call is refused",
             "Give the function itself, with its decorator on it"),
        Rule("DUR503", "error", "nobody awaits it",
             "an operation is then cancelled when the workflow returns, a coroutine never begins",
             "Put `await` before it"),
        Rule("DUR504", "error", "a time without a zone",
             "it means another moment on each machine, so the call is refused",
             "Give it one, as in `datetime(2030, 1, 1, tzinfo=UTC)`"),
        Rule("DUR505", "error", "an attempt is asked for outside of an activity",
             "only a function that a worker runs for `ctx.activity` has an attempt",
             "Call it in the activity"),
        Rule("DUR601", "error", "a cancellation is swallowed",
             "`handle.cancel()`, timeouts, `ctx.continue_as_new` and a run that leaves memory work "
             "by exceptions that are no `Exception`",
             "Catch `Exception`, or end the handler with `raise`"),
        Rule("DUR602", "warning", "an endless loop",
             "the journal grows for as long as it runs, and is read whole after each restart",
             "Call `ctx.continue_as_new(...)` when `ctx.events` has passed some thousands"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Named:
    """One name that breaks a rule, with an advice of its own if it has one; without a code it
    breaks none.

    ``fewer``: only if it is called with fewer arguments. ``by_name``: also where it is only named,
    as in ``field(default_factory=time.time)``. ``by_reading``: whoever reads it, calls or not.
    """

    code: str
    instead: str = ""
    fewer: int | None = None
    by_name: bool = False
    by_reading: bool = False


_CHILD = "Use `ctx.child`, `ctx.start_child` or `ctx.send`"
_TIMES = "Give it a time: `ctx.now()`"
_SEED = "Give it a seed: `ctx.random.random()`"

# code, what it is (names, in one module or class), and how to look
_TABLE: tuple[tuple[Named, str, str], ...] = (
    (Named("DUR101", by_name=True), "time",
     ("time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time "
     "process_time_ns thread_time thread_time_ns clock_gettime clock_gettime_ns")),
    (Named("DUR101", _TIMES, fewer=1), "time", "localtime gmtime ctime asctime"),
    (Named("DUR101", _TIMES, fewer=2), "time", "strftime"),
    (Named("DUR101", by_name=True), "datetime.datetime", "now utcnow today"),
    (Named("DUR101", by_name=True), "datetime.date", "today"),
    (Named("DUR101", by_name=True), "django.utils.timezone", "now localdate"),
    (Named("DUR101", by_name=True), "pendulum", "now today yesterday tomorrow"),
    (Named("DUR101", by_name=True), "arrow", "now utcnow"),
    (Named("DUR101", by_name=True), "whenever.Instant", "now"),
    (Named("DUR101", by_name=True), "whenever.ZonedDateTime", "now"),
    (Named("DUR101", by_name=True), "pandas.Timestamp", "now today utcnow"),
    (Named("DUR102", fewer=1), "datetime.datetime", "astimezone"),
    (Named("DUR102", "Give the zone: `datetime.fromtimestamp(..., UTC)`", fewer=2),
     "datetime.datetime", "fromtimestamp"),
    (Named("DUR102", "Use `datetime.fromtimestamp(..., UTC).date()`"),
     "datetime.date", "fromtimestamp"),
    (Named("DUR102", "Use `datetime.fromtimestamp(..., UTC)`"), "time", "mktime"),
    (Named("DUR103", by_name=True), "random",
     ("betavariate binomialvariate choice choices expovariate gammavariate gauss getrandbits "
     "lognormvariate normalvariate paretovariate randbytes randint random randrange sample seed "
     "shuffle triangular uniform vonmisesvariate weibullvariate")),
    (Named("DUR103", _SEED, fewer=1), "random", "Random"),
    (Named("DUR103"), "random", "SystemRandom"),
    (Named("DUR103", "Make it in an activity, and do not return it: results are recorded",
           by_name=True), "secrets",
     "choice randbelow randbits token_bytes token_hex token_urlsafe SystemRandom"),
    (Named("DUR103", by_name=True), "os", "urandom getrandom"),
    (Named("DUR103"), "numpy.random", "*"),
    (Named("DUR103", _SEED, fewer=1), "numpy.random",
     "default_rng RandomState PCG64 SeedSequence"),
    (Named(""), "numpy.random", "Generator"),
    (Named("DUR104", by_name=True), "uuid", "uuid1 uuid4 uuid6 uuid7"),
    (Named("DUR104", by_name=True), "uuid_utils", "uuid1 uuid4 uuid6 uuid7"),
    (Named("DUR104", by_name=True), "shortuuid", "uuid random"),
    (Named("DUR104", by_name=True), "nanoid", "generate"),
    (Named("DUR104", by_name=True), "ulid", "new ULID"),
    (Named("DUR105"), "time", "sleep"),
    (Named("DUR201"), "builtins", "open input"),
    (Named("DUR201"), "io", "open open_code FileIO"),
    (Named("DUR201"), "os",
     ("access chdir chmod chown close fork getloadavg kill link listdir lstat makedirs mkdir open "
     "pipe popen read readlink remove removedirs rename renames replace rmdir scandir stat statvfs "
     "symlink system truncate unlink utime wait waitpid walk write execl execle execlp execv "
     "execve execvp posix_spawn spawnl spawnv")),
    (Named("DUR201"), "os.path",
     "exists getatime getctime getmtime getsize isdir isfile islink lexists realpath samefile"),
    (Named("DUR201"), "pathlib.Path",
     ("absolute chmod exists expanduser glob group hardlink_to is_dir is_file is_symlink iterdir "
     "lchmod lstat mkdir open owner read_bytes read_text readlink rename replace resolve rglob "
     "rmdir samefile stat symlink_to touch unlink walk write_bytes write_text")),
    (Named("DUR201"), "shutil",
     "chown copy copy2 copyfile copytree disk_usage make_archive move rmtree unpack_archive which"),
    (Named("DUR201"), "tempfile", "*"),
    (Named("DUR201"), "glob", "glob iglob"),
    (Named("DUR201"), "subprocess", "Popen call check_call check_output getoutput run"),
    (Named("DUR201"), "socket",
     "socket create_connection create_server getaddrinfo gethostbyname gethostbyaddr"),
    (Named("DUR201"), "urllib.request", "Request urlopen urlretrieve build_opener"),
    (Named("DUR201"), "http.client", "HTTPConnection HTTPSConnection"),
    (Named("DUR201"), "smtplib", "SMTP SMTP_SSL"),
    (Named("DUR201"), "ftplib", "FTP FTP_TLS"),
    (Named("DUR201"), "sqlite3", "connect"),
    (Named("DUR201"), "asyncio",
     ("create_subprocess_exec create_subprocess_shell open_connection open_unix_connection "
     "start_server start_unix_server")),
    (Named("DUR201"), "anyio",
     ("Path connect_tcp connect_unix create_tcp_listener create_udp_socket open_file open_process "
     "open_signal_receiver run_process getaddrinfo")),
    (Named("DUR201"), "requests",
     "get post put patch delete head options request session Session Session.*"),
    (Named("DUR201"), "httpx",
     ("get post put patch delete head options request stream Client Client.* AsyncClient "
     "AsyncClient.*")),
    (Named("DUR201"), "aiohttp", "request ClientSession ClientSession.*"),
    (Named("DUR201"), "urllib3", "request PoolManager PoolManager.*"),
    (Named("DUR201"), "aiofiles", "open"),
    (Named("DUR201"), "asyncpg", "connect create_pool Connection.* Pool.*"),
    (Named("DUR201"), "psycopg", "connect Connection.* AsyncConnection.*"),
    (Named("DUR201"), "psycopg2", "connect"),
    (Named("DUR201"), "pymongo", "MongoClient MongoClient.* AsyncMongoClient AsyncMongoClient.*"),
    (Named("DUR201"), "motor.motor_asyncio", "AsyncIOMotorClient AsyncIOMotorClient.*"),
    (Named("DUR201"), "redis", "Redis Redis.* StrictRedis StrictRedis.* from_url"),
    (Named("DUR201"), "redis.asyncio", "Redis Redis.* from_url"),
    (Named("DUR201"), "boto3", "client resource Session session client.* resource.*"),
    (Named("DUR201"), "sqlalchemy", "create_engine create_engine.*"),
    (Named("DUR201"), "sqlalchemy.orm", "Session Session.*"),
    (Named("DUR201"), "sqlalchemy.ext.asyncio",
     "create_async_engine AsyncSession AsyncSession.* AsyncEngine.* AsyncConnection.*"),
    (Named("DUR201"), "openai", "OpenAI OpenAI.* AsyncOpenAI AsyncOpenAI.*"),
    (Named("DUR201"), "anthropic", "Anthropic Anthropic.* AsyncAnthropic AsyncAnthropic.*"),
    (Named("DUR201"), "litellm", "completion acompletion embedding aembedding"),
    (Named("DUR201", _CHILD), "durable", "Client Durable Worker Client.* Durable.* Worker.*"),
    (Named("DUR202"), "os",
     "getenv getenvb getpid getppid getcwd getlogin cpu_count sched_getaffinity uname"),
    (Named("DUR202", by_reading=True), "os", "environ environb"),
    (Named("DUR202", by_reading=True), "sys", "argv"),
    (Named("DUR202"), "pathlib.Path", "cwd home"),
    (Named("DUR202"), "os.path", "abspath expanduser expandvars"),
    (Named("DUR202"), "socket", "gethostname getfqdn"),
    (Named("DUR202"), "platform", "node platform uname machine system release"),
    (Named("DUR202"), "getpass", "getuser getpass"),
    (Named("DUR203"), "threading", "Thread Timer"),
    (Named("DUR203"), "_thread", "start_new_thread"),
    (Named("DUR203"), "concurrent.futures", ("ThreadPoolExecutor ProcessPoolExecutor "
     "ThreadPoolExecutor.* ProcessPoolExecutor.* wait as_completed")),
    (Named("DUR203"), "multiprocessing", "Process Pool Queue Manager get_context"),
    (Named("DUR203"), "asyncio", "to_thread run_coroutine_threadsafe wrap_future"),
    (Named("DUR203"), "anyio.to_thread", "*"),
    (Named("DUR203"), "anyio.to_process", "*"),
    (Named("DUR203"), "anyio.to_interpreter", "*"),
    (Named("DUR203"), "anyio.from_thread", "*"),
    (Named("DUR203"), "asgiref.sync", "sync_to_async async_to_sync"),
    (Named("DUR203"), "starlette.concurrency", "run_in_threadpool"),
    (Named("DUR203"), "fastapi.concurrency", "run_in_threadpool"),
    (Named("DUR203"), "signal", "signal alarm setitimer sigwait pause raise_signal"),
    (Named("DUR204"), "asyncio", "run Runner new_event_loop set_event_loop"),
    (Named("DUR204"), "anyio", "run"),
    (Named("DUR204"), "trio", "run"),
    (Named("DUR204"), "uvloop", "run install new_event_loop"),
    (Named("DUR204"), "nest_asyncio", "apply"),
    (Named("DUR205"), "asyncio", "Future Task"),
    (Named("DUR505"), "durable", "attempt"),
)  # fmt: skip

# What the loop of a workflow refuses, by its advice there.
_LOOP_CODES = {"use a thread": "DUR203", "change its event loop": "DUR204", "do I/O": "DUR201"}
LOOP = "asyncio.AbstractEventLoop"

NAMED: dict[str, Named] = {
    f"{where}.{name}": named for named, where, names in _TABLE for name in names.split()
} | {f"{LOOP}.{name}": Named(_LOOP_CODES[what]) for name, (what, _) in OUTWARD.items()}


def named(name: str) -> Named | None:
    """What the table says of a dotted name. The longest entry counts; what is done with the result
    of a call that has an entry of its own is told of there."""
    found = NAMED.get(name)
    while found is None and "." in name:
        name = name.rpartition(".")[0]
        found = NAMED.get(f"{name}.*")
        if found is None and name in NAMED:
            return None
    return found if found is not None and found.code else None


def named_by_code() -> dict[str, str]:
    """The names that the table knows, for people: by rule, then by module or class."""
    lines: dict[str, dict[str, list[str]]] = {}
    for name, entry in NAMED.items():
        if entry.code:
            where, _, last = name.rpartition(".")
            if last == "*" and where in NAMED:
                continue  # an instance of what is named itself
            lines.setdefault(entry.code, {}).setdefault(where, []).append(last)
    return {
        code: "; ".join(f"{where}: {' '.join(names)}" for where, names in sorted(places.items()))
        for code, places in sorted(lines.items())
    }
