"""The Prefect server that deployments lie on: it must be there before anything is sent to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings

from fabloom.errors import EnvironmentProblem
from fabloom.flows.run.prefect.outage import TROUBLE, place, reason

NONE_NAMED = (
    "no Prefect server is named, and a deployment lives on one. Start it with `prefect server start`, where it shall stay, "
    "and say where it is: export PREFECT_API_URL=http://127.0.0.1:4200/api"
)


@contextmanager
def connected() -> Iterator[SyncPrefectClient]:
    """A client of the server that PREFECT_API_URL names. Raises EnvironmentProblem where none is named, answers, or lets us in."""
    if not get_current_settings().api.url:
        raise EnvironmentProblem(NONE_NAMED)
    try:
        with get_client(sync_client=True) as client:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):  # one that is not there is told at once
                client.api_version()
            yield client
    except httpx.HTTPStatusError as error:
        raise EnvironmentProblem(_refused(error)) from error
    except TROUBLE as error:
        raise EnvironmentProblem(
            f"Prefect's server does not answer at {place()}: {reason(error)}. Start it (`prefect server start`), or mend PREFECT_API_URL."
        ) from error


def _refused(error: httpx.HTTPStatusError) -> str:
    if error.response.status_code in (401, 403):
        return (
            f"Prefect's server at {place()} asks for a password ({error.response.status_code}). "
            "Give it as PREFECT_API_AUTH_STRING=user:password, in the environment only."
        )
    return f"Prefect's server at {place()} refuses: {reason(error)} {_detail(error)}".rstrip()


def _detail(error: httpx.HTTPStatusError) -> str:
    try:
        found: Any = error.response.json()
    except ValueError:
        return ""
    return str(found.get("detail", ""))[:500] if isinstance(found, dict) else ""


def page(path: str) -> str:
    """The address of a page of Prefect's UI, as in `page("deployments")`."""
    url = str(get_current_settings().ui_url or "").rstrip("/")
    return f"{url}/{path}"
