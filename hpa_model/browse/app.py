"""The server's answers: the page, lists of samples, a sample, pictures."""

import asyncio
import contextlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError, first_line
from hpa_model.browse.catalog import Catalog
from hpa_model.browse.describe import describe_catalog, describe_sample, describe_tile
from hpa_model.browse.files import INDEX, MEDIA_TYPES, read_page
from hpa_model.browse.guard import Guard
from hpa_model.browse.maps import read_picture
from hpa_model.browse.pictures import Pictures, parse_view
from hpa_model.browse.query import Query, parse_query, select

# Samples that one request may list.
MAX_LISTED = 500
# Orders of samples that are kept: of 100,000 samples, each is 0.8 MB.
MAX_ORDERS = 16
# More than an index has; Python refuses to read numbers of thousands.
MAX_DIGITS = 15
N_THREADS = min(8, (os.cpu_count() or 1) + 1)


class Answers:
    """Answers requests about one catalog."""

    def __init__(self, catalog: Catalog, pictures: Pictures) -> None:
        self._catalog = catalog
        self._pictures = pictures
        self._page = read_page()
        self._orders: OrderedDict[Query, npt.NDArray[np.int64]] = OrderedDict()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(N_THREADS, "browse")
        self._description = _to_json(describe_catalog(catalog))

    def routes(self) -> list[Route]:
        """List the addresses that are answered."""
        return [
            Route("/", self.show_page),
            Route("/page/{name}", self.show_file),
            Route("/api/catalog", self.show_catalog),
            Route("/api/samples", self.list_samples),
            Route("/api/sample/{index}", self.show_sample),
            Route("/image/{index}", self.show_image),
            Route("/map/{index}", self.show_map),
        ]

    async def show_page(self, _: Request) -> Response:
        """Answer with the page."""
        return _file(INDEX, self._page[INDEX])

    async def show_file(self, request: Request) -> Response:
        """Answer with a script or a style of the page."""
        name = request.path_params["name"]
        return _file(name, self._page[name]) if name in self._page else _missing()

    async def show_catalog(self, _: Request) -> Response:
        """Answer with what the page needs before its first sample."""
        return Response(self._description, media_type="application/json")

    async def list_samples(self, request: Request) -> Response:
        """Answer with some samples of a query."""
        given = dict(request.query_params)
        try:
            first, n = int(given.pop("first", "0")), int(given.pop("n", "100"))
        except ValueError:
            return _refuse("first and n must be whole numbers.")
        if not (0 <= first < 2**53 and 0 <= n <= MAX_LISTED):
            return _refuse(f"n must be at most {MAX_LISTED}.")

        def answer() -> bytes:
            query = parse_query(given, self._catalog)
            order = self._find_order(query)
            listed = [describe_tile(self._catalog, index, query.label) for index in order[first : first + n].tolist()]
            return _to_json({"total": len(order), "first": first, "samples": listed})

        return await self._answer(answer, "application/json")

    async def show_sample(self, request: Request) -> Response:
        """Answer with all that is known of a sample, and where it is in a query."""
        index = self._find_index(request)
        if index is None:
            return _missing()
        given = dict(request.query_params)

        def answer() -> bytes:
            order = self._find_order(parse_query(given, self._catalog))
            is_shown = bool(is_readable(self._catalog.status[index]))
            gains: Sequence[float] = ()
            with contextlib.suppress(InputError):  # a damaged image; what is known of the sample is shown even so
                gains = self._pictures.find_gains(index) if is_shown else ()
            found = np.flatnonzero(order == index).tolist()
            return _to_json(
                describe_sample(self._catalog, index, gains=gains)
                | {"position": found[0] if found else None, "total": len(order)}
            )

        return await self._answer(answer, "application/json")

    async def show_image(self, request: Request) -> Response:
        """Answer with a picture of a sample."""
        index = self._find_index(request)
        if index is None:
            return _missing()
        try:
            view = parse_view(dict(request.query_params), len(self._catalog.dataset.channels))
            loop = asyncio.get_running_loop()
            content, kind = await loop.run_in_executor(self._threads, self._pictures.render, index, view)
        except (InputError, OSError) as error:
            return _refuse(first_line(error))
        return Response(content, media_type=kind)

    async def show_map(self, request: Request) -> Response:
        """Answer with the class maps of a sample."""
        index = self._find_index(request)
        path = self._catalog.maps.get(index) if index is not None else None
        return _missing() if path is None else await self._answer(lambda: read_picture(path), "image/png")

    async def _answer(self, make: Callable[[], bytes], media_type: str) -> Response:
        """Answer with what a thread makes, so that others are answered meanwhile."""
        try:
            content = await asyncio.get_running_loop().run_in_executor(self._threads, make)
        except (InputError, OSError) as error:
            return _refuse(first_line(error))
        return Response(content, media_type=media_type)

    def _find_index(self, request: Request) -> int | None:
        """Return the index of the sample that an address names; None if there is no such sample."""
        text = request.path_params["index"]
        is_number = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
        return int(text) if is_number and int(text) < len(self._catalog) else None

    def _find_order(self, query: Query) -> npt.NDArray[np.int64]:
        with self._lock:
            order = self._orders.get(query)
            if order is None:
                order = self._orders[query] = select(self._catalog, query)
                while len(self._orders) > MAX_ORDERS:
                    self._orders.popitem(last=False)
            return order


def make_app(
    catalog: Catalog,
    pictures: Pictures,
    *,
    hosts: tuple[str, ...],
    token: str | None = None,
    cookie: str = "hpa_browse",
) -> ASGIApp:
    """Make the application that a server runs.

    Parameters
    ----------
    catalog : Catalog
    pictures : Pictures
        Of the same samples.
    hosts : tuple of str
        Names of the server, each with its port, see `Guard`.
    token : str, optional
        What a browser has to show; by default none is needed.
    cookie : str
        Where the browser keeps it.
    """
    app = Starlette(routes=Answers(catalog, pictures).routes(), exception_handlers={404: _handle_missing})
    app.router.redirect_slashes = False
    return Guard(app, hosts=hosts, token=token, cookie=cookie)


async def _handle_missing(_: Request, __: Exception) -> Response:
    return _missing()


def _file(name: str, content: bytes) -> Response:
    return Response(content, media_type=MEDIA_TYPES[PurePath(name).suffix])


def _missing() -> Response:
    return PlainTextResponse("There is nothing of this name.\n", 404)


def _refuse(reason: str) -> Response:
    content = (reason + "\n").encode(errors="backslashreplace")  # names of files may be no Unicode
    return PlainTextResponse(content, 400)


def _to_json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
