"""GitLab's offset paging: `page`, `per_page` (20, at most 100), `x-*` headers and `Link`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from juniperd.sandbox.faults import HIDE_PAGES_FROM

PER_PAGE, PER_PAGE_MAX = 20, 100
# GitLab leaves the totals out above this number of rows.
COUNTED: Final = 10_000


def paged(request: web.Request, rows: Sequence[object]) -> web.Response:
    """One page of the rows; a fault may hide the later pages, as an answer that never comes would."""
    page, per_page = _number(request, "page", 1), min(_number(request, "per_page", PER_PAGE), PER_PAGE_MAX)
    hidden_from = request.get(HIDE_PAGES_FROM)
    if hidden_from is not None and page >= hidden_from:
        return web.json_response({"message": "404 Not found"}, status=404)
    pages = max(1, -(-len(rows) // per_page))
    neighbours = {"first": 1, "last": pages}
    if page > 1:
        neighbours["prev"] = page - 1
    if page < pages:
        neighbours["next"] = page + 1
    headers = {
        "x-page": str(page),
        "x-per-page": str(per_page),
        "x-prev-page": str(neighbours.get("prev", "")),
        "x-next-page": str(neighbours.get("next", "")),
        "Link": ", ".join(_link(request, name, at) for name, at in neighbours.items()),
    }
    if len(rows) <= COUNTED:
        headers |= {"x-total": str(len(rows)), "x-total-pages": str(pages)}
    return web.json_response(list(rows[(page - 1) * per_page : page * per_page]), headers=headers)


def _number(request: web.Request, name: str, default: int) -> int:
    given = request.query.get(name, str(default))
    if not given.isdecimal() or int(given) < 1:
        raise web.HTTPBadRequest(text=f'{{"error":"{name} is invalid"}}', content_type="application/json")
    return int(given)


def _link(request: web.Request, name: str, page: int) -> str:
    return f'<{request.url.update_query(page=str(page))}>; rel="{name}"'
