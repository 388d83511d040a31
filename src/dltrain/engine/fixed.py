"""An attribute that is set once."""

from __future__ import annotations

from typing import Generic, TypeVar

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
