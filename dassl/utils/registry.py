"""Name -> object registries, filled by decorators."""

from typing import Any

from .errors import UserError, quoted, suggest

__all__ = ["DuplicateNameError", "Registry"]


class DuplicateNameError(UserError, KeyError):
    """Two objects want one name; a KeyError as well, as upstream's."""

    __str__ = UserError.__str__


class Registry:
    """Objects by name; a class or function registers itself under its own name and any aliases.

    Example:
        ``@TRAINER_REGISTRY.register()`` or ``@DATASET_REGISTRY.register(aliases=("SPG_PACS",))``.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._obj_map: dict[str, Any] = {}

    def _do_register(self, name: str, obj: Any, force: bool) -> None:
        if name in self._obj_map and not force and self._obj_map[name] is not obj:
            old = getattr(self._obj_map[name], "__module__", "?")
            new = getattr(obj, "__module__", "?")
            raise DuplicateNameError(
                f"{name!r} is already registered in {self._name!r} by {old}; {new} wants it too: "
                "give one of them another name or remove its file"
            )
        self._obj_map[name] = obj

    def register(self, obj: Any = None, force: bool = False, aliases: tuple[str, ...] = ()) -> Any:
        """Register ``obj`` and return it; without ``obj``, return a decorator that does.

        Raises:
            DuplicateNameError: another object already has the name and ``force`` is off.
        """
        if obj is None:
            return lambda decorated: self.register(decorated, force, aliases)
        for name in (obj.__name__, *aliases):
            self._do_register(name, obj, force)
        return obj

    def get(self, name: str) -> Any:
        """Return the object called ``name``.

        Raises:
            UserError: nothing of that name is registered.
        """
        if name not in self._obj_map:
            allowed = self.registered_names()
            raise UserError(
                f"unknown {self._name} {quoted(name)}{suggest(name, allowed)} (known: {', '.join(allowed)})"
            )
        return self._obj_map[name]

    def registered_names(self) -> list[str]:
        """All names, aliases included, in order of registration."""
        return list(self._obj_map)
