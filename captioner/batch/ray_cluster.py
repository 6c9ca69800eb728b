"""The Ray cluster of a job: how it is reached, what its machines have, and what they see."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from captioner.errors import CaptionerError

from .placement import Node

ANSWER = 60.0
"""Seconds within which a machine must say what it sees."""
REFUSED = b"InvalidAuthToken"
"""What Ray's own lines say while it is refused for its token."""
TOKEN = (
    "The Ray cluster wants its token: set RAY_AUTH_MODE=token, and put the token (on its head, "
    "`ray get-auth-token` says it) into RAY_AUTH_TOKEN or into the file that RAY_AUTH_TOKEN_PATH "
    "names."
)


def connect() -> None:
    """Connect to the cluster that RAY_ADDRESS names or that runs here, else start one.

    Raises CaptionerError: it cannot be reached or started, or it wants another token.
    """
    import ray

    problem: list[BaseException] = []

    def begin() -> None:
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        except BaseException as error:
            problem.append(error)

    if "RAY_ADDRESS" in os.environ:
        # Where its token is refused Ray tries for half a minute, and says why in lines of its own.
        with _told() as told:
            thread = threading.Thread(target=begin, daemon=True)
            thread.start()
            while thread.is_alive() and REFUSED not in told.read_bytes():
                thread.join(0.1)
            if thread.is_alive():
                raise CaptionerError(TOKEN)
    else:
        begin()
    for error in problem:
        if isinstance(error, ray.exceptions.AuthenticationError):
            raise CaptionerError(TOKEN) from error
        if isinstance(error, (ConnectionError, RuntimeError, ValueError)):
            raise CaptionerError(f"Ray cannot be reached or started: {error}") from error
        raise error
    import ray.data

    # Ray 2.60 has other names for it, which 2.50 has not.
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    for name in ("ray", "ray.data"):  # they set their own levels when they are imported
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def _told() -> Iterator[Path]:
    """A file that this process writes to meanwhile in place of its standard error, its libraries
    in C++ included."""
    with tempfile.NamedTemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield Path(file.name)
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def nodes() -> dict[str, Node]:
    """What the machines of the cluster have that are alive, by their ids."""
    import ray

    return {
        node["NodeID"]: Node(
            int(node["Resources"].get("CPU", 0)),
            int(node["Resources"].get("GPU", 0)),
            str(node["NodeManagerHostname"]),
        )
        for node in ray.nodes()
        if node["Alive"]
    }


def blind(found: Mapping[str, Node], paths: Sequence[str]) -> dict[str, str]:
    """Which machines cannot do the work, and why: the path that they do not see of those that are
    here, or what went wrong when they were asked."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    look = ray.remote(num_cpus=0, max_retries=0)(unseen)
    asked = {
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(one, soft=False)).remote(
            [path for path in paths if Path(path).exists()]
        ): one
        for one in found
        if one != here
    }
    answered, _ = (
        ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER) if asked else ([], [])
    )
    problems = dict.fromkeys(asked.values(), f"it has not answered for {ANSWER:.0f} s")
    for answer in answered:
        try:
            missing = ray.get(answer)
            problems[asked[answer]] = f"it does not see {missing}" if missing else ""
        except ray.exceptions.RayError as error:
            problems[asked[answer]] = str(error).strip().splitlines()[-1]
    return {one: problem for one, problem in problems.items() if problem}


def unseen(paths: Sequence[str]) -> str | None:
    """The first of the paths that cannot be read on this machine."""
    return next((path for path in paths if not os.access(path, os.R_OK)), None)
