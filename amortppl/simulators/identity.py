"""What a simulator is, as text that differs where it may give other simulations."""

import ast
import dis
import functools
import inspect
import textwrap
from collections.abc import Mapping, Sequence, Set
from hashlib import sha256
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

MOST = 10_000
"""So many values are described of what a simulator goes with; of others, their types."""

PLAIN = bool, int, float, complex, str, bytes, type(None)


def digest(text: str) -> str:
    """Sixteen hexadecimal digits of a text."""
    return sha256(text.encode()).hexdigest()[:16]


def describe_simulator(simulator: Any) -> str:
    """A simulator's program, without comments and layout, and the values that it goes with.

    Those are the arguments of a `functools.partial`, what a function closes over, its defaults, the
    constants and functions of its own module that it names, and an object's methods and attributes,
    but for those that its methods change. Of what has neither, as compiled code and open files, the
    type is told. The same in every process.

    >>> from functools import partial
    >>> def shifted(mean, by):
    ...     return mean + by
    >>> one, two = (describe_simulator(partial(shifted, by=b)) for b in (1, 2))
    >>> one == two, one == describe_simulator(partial(shifted, by=1))
    (False, True)
    """
    return _Description().tell(simulator)


class _Description:
    """Tells each object once, so that those that refer to one another come to an end."""

    def __init__(self) -> None:
        self.told: dict[int, Any] = {}

    def tell(self, value: Any) -> str:
        """A value as text."""
        if isinstance(value, PLAIN):
            return repr(value)
        if id(value) in self.told or len(self.told) >= MOST:
            return type(value).__qualname__
        self.told[id(value)] = value  # held, so that no other object takes its place
        if isinstance(value, Mapping):
            pairs = sorted((str(n), self.tell(v)) for n, v in value.items())
            return f"{{{', '.join(f'{n}: {v}' for n, v in pairs)}}}"
        if isinstance(value, Set):
            return f"{{{', '.join(sorted(map(self.tell, value)))}}}"
        if isinstance(value, Sequence):
            return f"({', '.join(map(self.tell, value))})"
        if hasattr(value, "__array__") and not isinstance(value, type):
            return self._array(value)
        return self._object(value)

    def _object(self, value: Any) -> str:
        if isinstance(value, functools.partial):
            return f"partial{self.tell((value.func, value.args, value.keywords))}"
        if isinstance(value, MethodType):
            return f"{self.tell(value.__func__)} of {self.tell(value.__self__)}"
        value = getattr(value, "py_func", value)  # where numba keeps the function
        value = inspect.unwrap(value) if callable(value) else value
        if isinstance(value, FunctionType):
            return self._function(value)
        name = getattr(value, "__qualname__", type(value).__qualname__)
        if isinstance(value, type) or not hasattr(value, "__dict__"):
            return name
        methods = _methods(type(value))
        changed = set().union(*(_stored(m) for n, m in methods.items() if n != "__init__"))
        settings = {n: v for n, v in vars(value).items() if n not in changed}
        return f"{name}{self.tell((*methods.values(), settings))}"

    def _function(self, function: FunctionType) -> str:
        code = function.__code__
        closed = zip(code.co_freevars, function.__closure__ or (), strict=True)
        cells = {n: c.cell_contents for n, c in closed if _filled(c)}
        here = function.__module__
        named = {n: function.__globals__.get(n) for n in sorted(_names(code))}
        named = {n: v for n, v in named.items() if v is not function and _is_own(v, here)}
        given = cells, named, function.__defaults__, function.__kwdefaults__
        return _program(function) + "".join(self.tell(g) for g in given if g)

    def _array(self, value: Any) -> str:
        try:
            array = np.asarray(value)
        except Exception:
            return type(value).__qualname__
        if array.dtype.hasobject:
            return self.tell(array.tolist())
        whole = np.ascontiguousarray(array).tobytes()
        return f"array({array.dtype}, {array.shape}, {sha256(whole).hexdigest()})"


def _is_own(value: Any, module: str) -> bool:
    """Whether a global value is data, or a function or an object of a class of this module."""
    if value is None or isinstance(value, (*PLAIN, Mapping, list, tuple, Set)):
        return value is not None
    if hasattr(value, "__array__") and not isinstance(value, type):
        return True  # of NumPy, JAX, pandas or torch
    owner = value if isinstance(value, FunctionType) else type(value)
    return getattr(owner, "__module__", None) == module


def _methods(kind: type) -> dict[str, FunctionType]:
    """Functions of an object's class, and of its bases in the same module."""
    bases = [b for b in reversed(kind.__mro__) if b.__module__ == kind.__module__]
    found = {n: v for b in bases for n, v in vars(b).items() if isinstance(v, FunctionType)}
    return dict(sorted(found.items()))


def _stored(method: FunctionType) -> set[str]:
    """Attributes that a method assigns."""
    told = dis.get_instructions(method)
    return {str(i.argval) for i in told if i.opname == "STORE_ATTR"}


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _program(function: FunctionType) -> str:
    """A function's source; its code where there is none, or a lambda's, whose line holds more."""
    try:
        if function.__name__ != "<lambda>":
            return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(function))))
    except (OSError, TypeError, SyntaxError):
        pass
    return _code(function.__code__)


def _code(code: CodeType) -> str:
    constants = [_constant(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def _constant(value: Any) -> str:
    if isinstance(value, CodeType):
        return _code(value)
    # The order of a set is another in every process.
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)


def _names(code: CodeType) -> set[str]:
    inside = (_names(c) for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*inside)
