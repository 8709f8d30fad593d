"""CLIPs that ship with the project: who has one registers it here, the loader does not know where they are."""

from __future__ import annotations

from collections.abc import Callable

Loader = Callable[[str], tuple[dict, dict]]
EMBEDDED: dict[str, Loader] = {}


def register_embedded(names: tuple[str, ...], load: Loader) -> None:
    """Make names of MODEL.BACKBONE.NAME loadable without a file.

    Args:
        names: what users ask for.
        load: name -> (state dict in OpenAI's layout, sizes as `weights.architecture` returns them, with the input's
            `mean` and `std` per RGB channel).
    """
    EMBEDDED.update(dict.fromkeys(names, load))
