"""Pipelines that are built by a function, and the typed parameters that such a function may take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import ValidationError

from fabloom.errors import PipelineError
from fabloom.params import Params
from fabloom.pipeline import validation_error


@dataclass(frozen=True)
class Recipe:
    """How a registered pipeline is made: `build` takes its parameters, None where it has none; `params` is their model."""

    build: Callable[[Any], Any]
    params: type[Params] | None = None

    def read(self, name: str, given: Mapping[str, Any]) -> Params | None:
        """The parameters of pipeline `name`, defaults filled in. Raises PipelineError for one that it does not take, or a wrong value."""
        if self.params is None:
            if given:
                raise PipelineError("params", f"pipeline '{name}' takes no parameters; --set changes those of its steps")
            return None
        try:
            return self.params.model_validate(dict(given))
        except ValidationError as error:
            raise validation_error(error, self.params, "params") from error


def params_of(build: Callable[..., Any]) -> type[Params] | None:
    """The model of the parameter `params` of a function (registry) or (registry, params); None where it takes the registry alone.

    Raises TypeError for another signature, and for parameters that are no `Params`.
    """
    names = list(inspect.signature(build).parameters)
    if len(names) == 1:
        return None
    if len(names) != 2 or names[1] != "params":
        raise TypeError(f"its function takes ({', '.join(names)}), not (registry) or (registry, params)")
    model = get_type_hints(build).get("params")
    if not (inspect.isclass(model) and issubclass(model, Params)):
        raise TypeError("its `params` is annotated with no subclass of fabloom.params.Params")
    return model
