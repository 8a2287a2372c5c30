"""Work given to a Ray cluster."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from svp_diffusers.errors import ConfigurationError, MissingDependencyError

Row = dict[str, Any]


@dataclass(frozen=True)
class RayCluster:
    """A cluster on which work is done with Ray Data.

    All its machines must see the files under the same names.

    Attributes:
        address: of it, "auto", or "local" to start one on this machine.

    Raises:
        MissingDependencyError: ray is not installed.
    """

    address: str

    def __post_init__(self) -> None:
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                "to run on a cluster: pip install 'svp-diffusers[ray]'"
            ) from error

    def map(
        self, count: int, work: Callable[[Row], Row] | type, actors: int | None = None
    ) -> Iterator[Row]:
        """Do work once for each of `count` numbers, and give what it returns as it is finished.

        Rows are numbers because Arrow could not hold what they stand for.

        Args:
            count: of the rows `{"id": number}`.
            work: is given a row, and returns one; or a class whose instances are.
            actors: that hold an instance of the class, on a GPU each where there are some.

        Raises:
            ConfigurationError: there is no cluster at the address.
        """
        import ray
        import ray.data

        if not count:
            return
        try:
            ray.init(address=self.address)
        except ConnectionError as error:
            raise ConfigurationError(
                f"no Ray cluster answers at {self.address!r} ({error})"
            ) from error
        try:
            gpus = 1 if actors and ray.cluster_resources().get("GPU") else None
            numbers = ray.data.range(count, override_num_blocks=count)
            yield from numbers.map(work, concurrency=actors, num_gpus=gpus).iter_rows()
        finally:
            ray.shutdown()
