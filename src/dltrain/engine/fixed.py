"""Attributes of a trainer: one that is set once, and one that takes what people give, whenever they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

_Value = TypeVar("_Value")


class Fixed(Generic[_Value]):
    """Of a trainer: a step in the middle of training could not take another. Raises AttributeError where one is set."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, trainer: object | None, owner: type | None = None) -> _Value:
        if trainer is None:
            raise AttributeError(self.name)  # as of any attribute that only instances have
        return vars(trainer)[self.name]

    def __set__(self, trainer: object, value: _Value) -> None:
        if self.name in vars(trainer):
            raise AttributeError(f"trainer.{self.name} can't be changed; make a new Trainer with it")
        vars(trainer)[self.name] = value


class Taken(Generic[_Value]):
    """What `accepted` makes of what is set, in the constructor as later. It is read without a call."""

    def __init__(self, take: Callable[[Any, Any], _Value]) -> None:
        """take: (what is set, the trainer) -> the value; raises for what can't be taken."""
        self._take = take

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    if TYPE_CHECKING:

        def __get__(self, trainer: object | None, owner: type | None = None) -> _Value: ...

    def __set__(self, trainer: object, given: object) -> None:
        vars(trainer)[self.name] = self._take(given, trainer)
