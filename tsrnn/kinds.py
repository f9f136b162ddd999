"""Building blocks of configurations: validated numbers, and unions of classes that any module can extend.

The classes of such a union (tasks, networks, curricula) are identified by their `kind`. The JSON form of an instance is
an object with this `kind`, which is looked up among the registered classes when the JSON is read.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

STRICT: Final = ConfigDict(extra="forbid")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
MemoryN = Annotated[int, Field(ge=2)]
Generator = Literal["pcg64", "mt19937"]
"""What draws random numbers on a CPU; see `tsrnn.config.RunConfig`."""

T = TypeVar("T")


class Kinds(Generic[T]):
    """The classes of one union, by their `kind`.

    `Annotated[Base, kinds]` is the type of a field that accepts an instance of any of these classes, or its JSON form.

    Attributes:
        what: what messages call the classes, such as "task".
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._classes: dict[str, type[T]] = {}
        self._adapter: TypeAdapter[T] | None = None

    def add(self, cls: type[T]) -> None:
        """Register a class: a frozen pydantic dataclass with a field `kind: Literal["name"] = "name"`.

        A class that is defined again in the same place (in a notebook's cell, or in a module that is imported under
        another name) replaces the earlier one.

        Raises:
            TypeError: if it is abstract or has no kind.
            ValueError: if its kind is another class's.
        """
        kind = getattr(cls, "kind", None)
        if not isinstance(kind, str) or "kind" not in getattr(cls, "__dataclass_fields__", ()):
            raise TypeError(f'{cls.__qualname__}: a {self.what} needs a field such as kind: Literal["name"] = "name"')
        if lacking := sorted(getattr(cls, "__abstractmethods__", ())):
            raise TypeError(f"{cls.__qualname__}: a {self.what} needs {', '.join(lacking)}")
        known = self._classes.get(kind)
        if known is not None and _place(known) != _place(cls):
            raise ValueError(f"{cls.__qualname__}: the {self.what} kind {kind!r} is taken by {known.__module__}")
        self._classes[kind] = cls
        self._adapter = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __getitem__(self, kind: str) -> type[T]:
        """Return the class of a kind.

        Raises:
            ValueError: names the kinds there are.
        """
        if kind not in self._classes:
            raise ValueError(self._unknown(kind))
        return self._classes[kind]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # The classes are looked up when a value is checked, so that one may be registered at any time. An object
        # is written by its own class's serializer.
        return core_schema.no_info_plain_validator_function(self._check)

    def _check(self, value: Any) -> T:
        if type(value) in self._classes.values():
            checked: T = value
            return checked
        if not isinstance(value, Mapping):
            raise PydanticCustomError(
                "not_a_kind", "Input should be a registered {what} or an object with its kind", {"what": self.what}
            )
        kind = value.get("kind")
        if isinstance(kind, str) and kind not in self._classes:
            raise PydanticCustomError("unknown_kind", "{reason}", {"reason": self._unknown(kind)})
        if self._adapter is None:
            self._adapter = TypeAdapter(Annotated[Any, _Tagged(self._classes)])
        return self._adapter.validate_python(value)

    def _unknown(self, kind: str) -> str:
        known = ", ".join(map(repr, self._classes))
        return f"unknown kind {kind!r}; known are {known}; import the module that defines another one first"


class _Tagged:
    """The schema of a union tagged by `kind`; errors name the kind where they occur."""

    def __init__(self, classes: Mapping[str, type]) -> None:
        self._classes = classes

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind: handler.generate_schema(cls) for kind, cls in self._classes.items()}
        return core_schema.tagged_union_schema(choices, discriminator="kind")


def source_file(cls: type) -> str | None:
    """Return the path of the file that defines a class, or None where it was typed into a session."""
    try:
        return inspect.getfile(cls)
    except (TypeError, OSError):
        return None


def _place(cls: type) -> tuple[str | None, str]:
    return source_file(cls), cls.__qualname__
