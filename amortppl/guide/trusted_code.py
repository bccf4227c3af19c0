"""Which code may be run to load a guide, and that code imported.

A guide's folder names the modules of its method and its model. Nothing that it names is opened or
imported unless it is a method or a model of this package, a file or a module that the caller
trusts by name, or what the user's own guide, saved on this machine, was trained with.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from amortppl import catalogue
from amortppl.errors import GuideError, quoted

Kind = Literal["models", "inference"]


class TrustedCode:
    """The code that one call of `load` may run.

    Args:
        path: the guide's folder.
        given: files and modules that the caller trusts.
        own: whether the user saved this guide on this machine.

    Raises:
        GuideError: `given` holds other than paths of files and names of modules.
    """

    def __init__(self, path: Path, given: Sequence[str | Path], own: bool) -> None:
        if isinstance(given, str | Path):
            given = [given]
        self.path, self.own = path, own
        self.files = [Path(g).resolve() for g in given if Path(g).suffix == ".py"]
        self.modules = [str(g) for g in given if Path(g).suffix != ".py"]
        missing = [str(f) for f in self.files if not f.is_file()]
        if missing:
            raise GuideError(f"trust_code: no file at {missing[0]}")
        odd = [m for m in self.modules if not all(p.isidentifier() for p in m.split("."))]
        if odd:
            raise GuideError(
                f"trust_code: expected paths of .py files or names of modules, got {odd[0]!r}"
            )

    def module(self, kind: Kind, where: dict[str, str], hint: str) -> Any:
        """The module that a guide names; None where its own file is gone.

        Args:
            kind: what it should hold.
            where: its `module` and `file`, as the guide names them.
            hint: what to do where it is not trusted.

        Raises:
            GuideError: it is neither of this package nor trusted.
        """
        name, file = where["module"], where["file"]
        package, _, last = name.rpartition(".")
        if package == f"amortppl.{kind}" and last in catalogue.names(kind):
            return catalogue.module(kind, last)
        trusted = [f for f in self.files if f.name == Path(file.replace("\\", "/")).name]
        exact = [f for f in trusted if str(f) == file] or trusted
        if exact:
            return _run(exact[0])
        if name in self.modules:
            loaded = _by_name(name)
            if loaded is not None:
                label = f"the trusted module {name} ({_file(loaded)})"
                print(f"amortppl: running {label}", file=sys.stderr)
            return loaded
        if self.own:
            return self._own_module(name, file)
        given = f" (trusted: {quoted(map(str, [*self.files, *self.modules]))})"
        raise GuideError(
            f"{self.path}: its {'method' if kind == 'inference' else 'model'} was written in "
            f"{file or name!r}, which is not run because this guide was not saved by you on this "
            f"machine{given if self.files or self.modules else ''}; {hint}"
        )

    def expect_file(self, file: str) -> None:
        """Refuses a file that an option names, as an own encoder's, unless it may be run.

        Raises:
            GuideError: it is not trusted.
        """
        if not self.own and Path(file).resolve() not in self.files:
            raise GuideError(
                f"{self.path}: an option of its method names code in {file}, which is not run "
                "because this guide was not saved by you on this machine; where you trust that "
                f"file, name it: trust_code=[{file!r}]"
            )

    def _own_module(self, name: str, file: str) -> Any:
        place = Path(file)
        if not file or not place.is_file():
            return None
        if self.path.resolve() in place.resolve().parents:
            raise GuideError(
                f"{self.path}: its code lies inside the guide's own folder; running it would run a "
                f"stranger's code. Pass task=..."
            )
        main = getattr(sys.modules.get("__main__"), "__file__", None)
        if name == "__main__" or name.startswith("amortppl_user_"):
            is_main = main is not None and Path(main).resolve() == place
            return sys.modules["__main__"] if is_main else catalogue.from_file(place)
        return _by_name(name) if _origin(name) == place.resolve() else None


def _run(file: Path) -> Any:
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if main is not None and Path(main).resolve() == file:
        return sys.modules["__main__"]
    print(f"amortppl: running the trusted file {file}", file=sys.stderr)
    return catalogue.from_file(file)


def _by_name(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _file(module: Any) -> str:
    return str(getattr(module, "__file__", None) or "built in")


def _origin(name: str) -> Path | None:
    """The file that importing a module would run, found without running it."""
    if name in sys.modules:
        return Path(_file(sys.modules[name])).resolve()
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest and spec.origin:
        return Path(spec.origin).resolve()
    for place in spec.submodule_search_locations or []:
        stem = Path(place, *rest)
        for file in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
            if file.is_file():
                return file.resolve()
    return None
