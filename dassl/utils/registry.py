"""Name -> object registries, filled by decorators."""

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
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

    Attributes:
        kind: what is registered, e.g. ``TRAINER``.
        replaced: objects that gave a name to a file of the user's, see :meth:`giving_way`.
        broken: names of files that cannot be imported -> the line that says why; asking for one of them raises it.
    """

    _giving_way: Collection[str] = ()  # modules whose names other modules may take, for all registries

    def __init__(self, name: str) -> None:
        self.kind = self._name = name
        self._obj_map: dict[str, Any] = {}
        self.replaced: list[Any] = []
        self.broken: dict[str, str] = {}

    @classmethod
    @contextmanager
    def giving_way(cls, modules: Collection[str]) -> Iterator[None]:
        """Within the block, names of these modules (or of what lies in them) go to any other module that wants them.

        It does not matter which of the two registers first; each name that goes is one line on stderr.
        """
        before, cls._giving_way = cls._giving_way, modules
        try:
            yield
        finally:
            cls._giving_way = before

    def _gives_way(self, obj: Any) -> bool:
        module = getattr(obj, "__module__", "")
        return any(module == name or module.startswith(f"{name}.") for name in self._giving_way)

    def _do_register(self, name: str, obj: Any, force: bool) -> None:
        old = self._obj_map.get(name, obj)
        if old is obj or force:
            self._obj_map[name] = obj
            return
        places = [getattr(each, "__module__", "?") for each in (old, obj)]
        if self._gives_way(old) == self._gives_way(obj):
            raise DuplicateNameError(
                f"{name!r} is already registered in {self._name!r} by {places[0]}; {places[1]} wants it too: "
                "give one of them another name or remove its file"
            )
        kept, gone = (obj, old) if self._gives_way(old) else (old, obj)
        self._obj_map[name] = kept
        self.replaced.append(gone)
        print(f"{self._name} {name!r} is that of {kept.__module__}, in place of {gone.__module__}'s", file=sys.stderr)

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
            UserError: nothing of that name is registered, or its file cannot be imported.
        """
        if name in self.broken:
            raise UserError(f"{self._name} {name!r}: {self.broken[name]}")
        if name not in self._obj_map:
            allowed = self.registered_names()
            raise UserError(
                f"unknown {self._name} {quoted(name)}{suggest(name, allowed)} (known: {', '.join(allowed)})"
            )
        return self._obj_map[name]

    def registered_names(self) -> list[str]:
        """All names that :meth:`get` knows, aliases included, in order of registration."""
        return [name for name in self._obj_map if name not in self.broken]

    def objects(self) -> list[Any]:
        """Every object once, those that were replaced first."""
        return list(dict.fromkeys([*self.replaced, *self._obj_map.values()]))

    def state(self) -> tuple[dict[str, Any], list[Any]]:
        """What :meth:`restore` takes back."""
        return dict(self._obj_map), list(self.replaced)

    def restore(self, state: tuple[dict[str, Any], list[Any]]) -> None:
        """Forget what was registered since :meth:`state`."""
        self._obj_map, self.replaced = dict(state[0]), list(state[1])
