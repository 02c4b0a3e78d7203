"""The page on this machine's own address, or on others with a token."""

import hmac
import ipaddress
import logging
import secrets
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import panel as pn
from tornado.websocket import WebSocketClosedError

from ..errors import InputError
from .addresses import MOST_PARTS
from .controls import text
from .folders import server_folder
from .laboratory import warm_up
from .look import LOOKS, page_css
from .page import Page
from .state import State
from .uploads import ROUTE, UploadHandler

TITLE = "deeplinear explorer"
LOOPBACK = "127.0.0.1"


def serve(
    port: int,
    host: str = LOOPBACK,
    *,
    results: Path = Path("experiments"),
    open_browser: bool = False,
    on_start: Callable[[str], None] = print,
) -> None:
    """Serve the page until this process is stopped; port 0 takes any free one.

    On the loopback address alone unless ``host`` says otherwise: then visitors need the token that
    is in the address which ``on_start`` is told. Pages of other origins cannot open its websocket.
    ``results``: the folder of stored experiments, which is only read; what the page writes is in a
    temporary folder, which goes with it.

    **Raises** `InputError` where the port is taken.
    """
    # of Panel, about parts of pages that come again; it means nothing to who serves them
    warnings.filterwarnings("ignore", message="reference already known")
    logging.getLogger("asyncio").addFilter(_still_there)
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)  # the same
    token = "" if is_loopback(host) else secrets.token_urlsafe(18)
    port = port or _free_port(host)
    with server_folder() as folder:
        try:
            server = pn.serve(
                {"/": lambda: page(token, folder, results)},
                port=port,
                address=host,
                title=TITLE,
                show=False,
                start=False,
                websocket_origin=[f"{name}:{port}" for name in names(host)],
                extra_patterns=[(ROUTE, UploadHandler)],
                check_unused_sessions_milliseconds=5_000,
                unused_session_lifetime_milliseconds=30_000,
                websocket_max_message_size=2**20,
            )
        except OSError as error:
            raise InputError(
                f"port {port} of {host} cannot be used ({error.strerror or error}): give another "
                "port, or 0 for any free one."
            ) from None
        address = f"http://{names(host)[0]}:{port}/" + (f"?token={token}" if token else "")
        warm_up()
        on_start(address)
        if open_browser:
            server.io_loop.add_callback(server.show, f"/?token={token}" if token else "/")
        server.run_until_shutdown()  # which Ctrl-C and SIGTERM end, and stops it


def _still_there(record: logging.LogRecord) -> bool:
    """Not what Tornado says of a visitor who has left while something was sent."""
    return not (record.exc_info and isinstance(record.exc_info[1], WebSocketClosedError))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def names(host: str) -> list[str]:
    """The names under which pages may ask for the websocket; the first is the one to open.

    >>> names("127.0.0.1")
    ['127.0.0.1', 'localhost']
    """
    if is_loopback(host):
        return list(dict.fromkeys([_bracketed(host), LOOPBACK, "localhost"]))
    if host.strip("[]") not in ("0.0.0.0", "::"):
        return [_bracketed(host)]
    own = socket.gethostname()
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(own, None)}
    except OSError:
        found = set()
    return [own, *sorted(_bracketed(address) for address in found), LOOPBACK, "localhost"]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.bind((host.strip("[]"), 0))
        return int(trial.getsockname()[1])


def page(token: str, folder: Path, results: Path) -> pn.viewable.Viewable:
    """What one visitor sees: called within the visitor's session."""
    location = pn.state.location
    query = location.search if location is not None and location.search else _asked()
    theme = State.from_query(query)[0].theme
    look = LOOKS[theme]
    pn.config.raw_css = [page_css(look)]
    pn.config.theme = "dark" if theme == "dark" else "default"
    given = dict(parse_qsl(query.lstrip("?"), max_num_fields=MOST_PARTS)).get("token", "")
    if token and not hmac.compare_digest(given.encode(), token.encode()):
        return text("<h1>deeplinear explorer</h1><p>Open the address that was printed when the "
                    "explorer was started: it ends with a token.</p>", look)  # fmt: skip
    return Page(query, token, folder, results).view


def _asked() -> str:
    """The query of the request, before the page's own location is there."""
    arguments = {name: values[-1].decode() for name, values in pn.state.session_args.items()}
    return "?" + urlencode(arguments) if arguments else ""
