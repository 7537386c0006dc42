"""What a pickle may ask for: harmless stand-ins that become arrays, dtypes, random generators.

NumPy's own reconstruction functions are not used, because a forged dtype state turns raw bytes into
object pointers. The shells here have the same pickle protocol; they collect the state, check it,
and become the real objects after loading. ``ALLOWED_GLOBALS`` is all that a file can name.
"""

import math
import re
from collections import OrderedDict, defaultdict
from typing import Any, Callable, Dict, Optional, Sequence, Union

import numpy as np

__all__ = ['ALLOWED_GLOBALS', 'Finisher', 'Shell', 'UnsafePickleError']


class UnsafePickleError(ValueError):
    """A file asks for something outside the table of harmless types; nothing of it was run."""


class Shell:
    """Stands in for an object while a file is read: collects state, then becomes the object.

    To allow another type, write a subclass whose ``__init__`` takes the arguments and whose
    ``__setstate__`` takes the state that the type's pickle carries, and enter the class in the
    table under the type's name.
    """

    def __setstate__(self, state: Any) -> None:
        raise UnsafePickleError(f'unexpected state for {type(self).__name__.lstrip("_")}')

    def resolve(self, finish: Callable[[Any], Any]) -> Any:
        """Return the real object; ``finish`` resolves what the collected state holds."""
        raise NotImplementedError


class _Dtype(Shell):
    """``numpy.dtype``; rebuilt by NumPy's checking constructor, not by its ``__setstate__``."""

    _PATTERN = re.compile(r'[<>=|]?(b1|[iufc]\d{1,2}|[SUV]\d{1,9}|O\d?|[?bBhHiIlLqQefdgFDG])')

    def __init__(self, description: str, align: bool = False, copy: bool = False) -> None:
        if not isinstance(description, str) or not self._PATTERN.fullmatch(description):
            raise UnsafePickleError(f'numpy dtype {description!r}')
        self.dtype = np.dtype(description)

    def __setstate__(self, state: tuple) -> None:
        _, byte_order, sub_dtype, names, fields, item_size = state[:6]
        if sub_dtype is not None:
            self.dtype = np.dtype((sub_dtype[0].dtype, sub_dtype[1]))
        elif names is not None:
            self.dtype = np.dtype({
                'names': list(names), 'formats': [fields[name][0].dtype for name in names],
                'offsets': [fields[name][1] for name in names], 'itemsize': item_size})
        elif byte_order in ('<', '>'):
            dtype = self.dtype.newbyteorder(byte_order)
            # an explicit "<" where it is the machine's own order would print and pickle otherwise
            self.dtype = dtype.newbyteorder('=') if dtype.isnative else dtype

    def resolve(self, finish: Callable[[Any], Any]) -> np.dtype:
        return self.dtype


def _numpy_array(data: Union[bytes, str], dtype: np.dtype, shape: Sequence[int],
                 order: str) -> np.ndarray:
    """Array of raw bytes; ``str`` is how Python 2 stored them."""
    if dtype.hasobject:
        raise UnsafePickleError('raw bytes as Python objects')
    data = data.encode('latin1') if isinstance(data, str) else data
    count = math.prod(shape)
    if len(data) != count * dtype.itemsize:
        raise ValueError(f'array of shape {tuple(shape)} and dtype {dtype} needs '
                         f'{count * dtype.itemsize} bytes, found {len(data)}')
    if dtype.itemsize == 0:
        return np.zeros(shape, dtype)
    # a copy, because the bytes object behind frombuffer is read-only
    return np.frombuffer(data, dtype).reshape(shape, order=order).copy(order)


class _Array(Shell):
    """``numpy.ndarray`` (also the type argument of ``_reconstruct``)."""

    def __init__(self) -> None:
        self.array: Optional[np.ndarray] = None
        self.objects: Optional[list] = None

    def __setstate__(self, state: tuple) -> None:
        shape, dtype, is_fortran, data = state[-4:]
        if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
            raise UnsafePickleError('numpy array with a forged state')
        order = 'F' if is_fortran else 'C'
        if dtype.dtype == np.dtype(object):
            if not isinstance(data, list) or len(data) != math.prod(shape):
                raise UnsafePickleError('numpy object array with a forged state')
            self.objects = data
            self.array = np.empty(len(data), object).reshape(shape, order=order)
        else:
            self.array = _numpy_array(data, dtype.dtype, shape, order)

    def resolve(self, finish: Callable[[Any], Any]) -> np.ndarray:
        if self.array is None:
            raise ValueError('numpy array without data')
        if self.objects is not None:
            objects, self.objects = self.objects, None
            order = 'C' if self.array.flags.c_contiguous else 'F'
            flat = self.array.reshape(-1, order=order)  # a view: the array is contiguous
            # NumPy stores the objects in C order, whatever the order in memory
            places = np.arange(flat.size).reshape(self.array.shape, order=order).ravel()
            for place, value in zip(places, objects):
                flat[place] = finish(value)
        return self.array


def _reconstruct(kind: type, shape: tuple, code: Any) -> _Array:
    if kind is not _Array:
        raise UnsafePickleError(f'numpy array of type {kind!r}')
    return _Array()


def _scalar(dtype: _Dtype, data: Union[bytes, str] = b'') -> np.generic:
    return _numpy_array(data, dtype.dtype, (1,), 'C')[0]


def _from_buffer(data: bytes, dtype: _Dtype, shape: tuple, order: str) -> np.ndarray:
    return _numpy_array(data, dtype.dtype, shape, 'F' if order == 'F' else 'C')


def _latin1(text: str, encoding: str = 'latin1') -> bytes:
    """``_codecs.encode`` as far as protocol 2 uses it (bytes are stored as latin-1 text)."""
    if encoding not in ('latin1', 'latin-1'):
        raise UnsafePickleError(f'_codecs.encode with encoding {encoding!r}')
    return text.encode('latin1')


class _BitGenerator(Shell):
    """A bit generator of ``numpy.random`` with its state."""

    _TYPES = {kind.__name__: kind for kind in (
        np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox,
        np.random.SFC64)}

    def __init__(self, kind: Union[str, type] = 'MT19937') -> None:
        name = kind if isinstance(kind, str) else getattr(kind, '__name__', kind)
        if name not in self._TYPES:
            raise UnsafePickleError(f'numpy bit generator {name!r}')
        self.kind = self._TYPES[name]
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state[0] if isinstance(state, tuple) else state  # NumPy 2 adds the seed

    def resolve(self, finish: Callable[[Any], Any]) -> np.random.BitGenerator:
        generator = self.kind()
        if self.state is not None:
            _set_random_state(generator, finish(self.state))
        return generator


def _set_random_state(generator: Any, state: Any) -> None:
    """Set a state whose positions NumPy would use as array indices without a check."""
    if isinstance(state, tuple):  # the form of NumPy < 1.17
        key, position = state[1:3]
        limit, size = 624, 624
    else:
        limit, size = (4, 2) if state.get('bit_generator') == 'Philox' else (624, 624)
        position = state.get('buffer_pos', state['state'].get('pos', 0))
        key = state['state'].get('key')
    if key is not None and np.shape(key) != (size,) or not 0 <= position <= limit:
        raise ValueError('damaged state of a numpy random generator')
    if isinstance(state, tuple) or isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.state = state


class _RandomState(Shell):
    """``numpy.random.RandomState``, as training scripts keep their shuffling state."""

    def __init__(self, generator: Union[str, _BitGenerator] = 'MT19937', _: Any = None) -> None:
        self.generator = _BitGenerator(generator) if isinstance(generator, str) else generator
        if not isinstance(self.generator, _BitGenerator):
            raise UnsafePickleError(f'numpy bit generator {generator!r}')
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def resolve(self, finish: Callable[[Any], Any]) -> np.random.RandomState:
        result = np.random.RandomState(finish(self.generator))
        if self.state is not None:
            _set_random_state(result, finish(self.state))
        return result


class _Generator(_RandomState):
    """``numpy.random.Generator``; its whole state is in the bit generator."""

    def resolve(self, finish: Callable[[Any], Any]) -> np.random.Generator:
        if isinstance(self.state, dict):
            self.generator.state = self.state
        return np.random.Generator(finish(self.generator))


class _SeedSequence(Shell):
    """The seed that NumPy 2 stores beside a bit generator's state; the state alone is enough."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def resolve(self, finish: Callable[[Any], Any]) -> None:
        return None


_FACTORIES = (list, dict, set, int, float, str, OrderedDict)


def _defaultdict(factory: Optional[type] = None) -> defaultdict:
    if factory is not None and factory not in _FACTORIES:
        raise UnsafePickleError(f'collections.defaultdict of {factory!r}')
    return defaultdict(factory)


def _table() -> Dict[str, Any]:
    table: Dict[str, Any] = {
        'builtins.bytearray': bytearray, 'builtins.bytes': bytes, 'builtins.complex': complex,
        'builtins.frozenset': frozenset,
        'collections.OrderedDict': OrderedDict, 'collections.defaultdict': _defaultdict,
        '_codecs.encode': _latin1,
        'numpy.dtype': _Dtype, 'numpy.ndarray': _Array,
        'numpy.random.bit_generator.SeedSequence': _SeedSequence,
        'numpy.random.bit_generator.__pyx_unpickle_SeedSequence': _SeedSequence,
        'numpy.random._pickle.__generator_ctor': _Generator,
        'numpy.random._pickle.__bit_generator_ctor': _BitGenerator,
        'numpy.random._pickle.__randomstate_ctor': _RandomState,
        'numpy.random.__RandomState_ctor': _RandomState,  # NumPy < 1.17
        'mtrand.__RandomState_ctor': _RandomState,
    }
    table.update({f'builtins.{kind.__name__}': kind for kind in _FACTORIES[:-1]})
    for core in ('numpy.core', 'numpy._core'):  # the name of NumPy 1 and of NumPy 2
        table[f'{core}.multiarray._reconstruct'] = _reconstruct
        table[f'{core}.multiarray.scalar'] = _scalar
        table[f'{core}.numeric._frombuffer'] = _from_buffer
    for name, kind in _BitGenerator._TYPES.items():
        table[f'numpy.random._{name.lower().replace("dxsm", "")}.{name}'] = kind
    return table


ALLOWED_GLOBALS: Dict[str, Any] = _table()
"""What a file may name (``module.name``) and what it gets. Nothing else is ever looked up."""


class Finisher:
    """Replace shells by what they stand for, in place where a container can be changed."""

    def __init__(self) -> None:
        self._done: Dict[int, Any] = {}
        self._alive: list = []  # an id is only unique as long as its object lives

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, (Shell, dict, list, tuple, set, frozenset)):
            return value
        if id(value) not in self._done:
            self._alive.append(value)
            self._done[id(value)] = value  # of a cycle: the container itself
            self._done[id(value)] = self._finish(value)
        return self._done[id(value)]

    def _finish(self, value: Any) -> Any:
        if isinstance(value, _Array) and value.array is not None:
            self._done[id(value)] = value.array
        if isinstance(value, Shell):
            return value.resolve(self)
        if isinstance(value, dict):
            for key in list(value):
                value[key] = self(value[key])
            if any(isinstance(key, (Shell, tuple)) for key in value):
                items = [(self(key), item) for key, item in value.items()]
                value.clear()
                value.update(items)
            return value
        if isinstance(value, list):
            value[:] = [self(item) for item in value]
            return value
        finished = [self(item) for item in value]
        if all(new is old for new, old in zip(finished, value)):
            return value
        if hasattr(value, '_fields') or type(value) not in (tuple, set, frozenset):
            return value  # torch.Size and its like hold no shells
        return type(value)(finished)
