"""Names of parameters that a library would not hear: unknown ones, and other names of what it has under a first one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from expectations.wording import nearest


def unheard(params: Iterable[str], names: Mapping[str, Sequence[str]], unknown: str) -> dict[str, str]:
    """Return the parameters that a library does not know, or would not hear, and why.

    Parameters
    ----------
    names : mapping of str to sequence of str
        Every parameter, and the other names of each.
    unknown : str
        Why one is refused that is none of them.
    """
    found = dict[str, str]()
    own = {other: name for name, others in names.items() for other in others}
    for name in params:
        if name in own:  # ours, under the first name, would win over it
            found[name] = f"write {own[name]}, which it is another name of"
        elif name not in names:
            near = nearest(name, [*names, *own])
            meant = own.get(near, near) if near else ""
            found[name] = unknown + (f"; did you mean {meant!r}?" if meant else "")
    return found
