"""Plugins: files with the user's own tasks, curricula and networks, which other processes import by path."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from tsrnn.config import RunConfig
from tsrnn.errors import Failure
from tsrnn.kinds import source_file


class PluginError(Failure):
    """A plugin file cannot be found or imported; the message says what to do."""

    status: ClassVar[int] = 2


def import_file(path: str | Path) -> None:
    """Import a Python file, so that the kinds that it registers are known; a file is imported only once.

    A file in a package is imported as part of the package. Its folder is appended to `sys.path`, so that it can import
    its neighbours.

    Raises:
        PluginError: if there is no such file, or it raises an error: the message has the line of the file.
    """
    path = Path(path).resolve()
    if path.suffix != ".py" or not path.is_file():
        raise PluginError(f"plugin = {path}: no such Python file")
    if any(_is_file_of(module, path) for module in list(sys.modules.values())):
        return
    root, name = path.parent, path.stem
    while (root / "__init__.py").exists():
        root, name = root.parent, f"{root.name}.{name}"
    if str(root) not in sys.path:
        sys.path.append(str(root))
    try:
        if root != path.parent:
            importlib.import_module(name)
        else:
            _import_alone(name, path)
    except PluginError:
        raise
    except Exception as error:  # the user's code may raise any
        raise PluginError(f"plugin = {path}:{_line(error, path)} {type(error).__name__}: {error}") from error


def _import_alone(name: str, path: Path) -> None:
    """Import a file that is part of no package."""
    # The file is imported by its path and not by its name, because another module may have that name.
    if name in sys.modules:
        name = f"{name} at {path}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _line(error: Exception, path: Path) -> str:
    """Return the line of a file that an error comes from, such as "3:"; empty where it comes from elsewhere."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return f"{lines[-1]}:" if lines else ""


def _is_file_of(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).name == path.name and Path(file).resolve() == path


def files_of(configs: Iterable[RunConfig]) -> list[str]:
    """Return the paths of the files that define the classes that these runs use and that are not part of tsrnn.

    Raises:
        PluginError: if a class was defined in an interactive session, from which no other process can import it.
    """
    # This imports torch, which takes seconds; --help and errors in options must not wait for it.
    from tsrnn.networks import population_class

    classes = dict.fromkeys(
        cls
        for config in configs
        for cls in (
            type(config.task),
            type(config.curriculum),
            type(config.network),
            population_class(config.network),
        )
        if cls.__module__.partition(".")[0] != "tsrnn"
    )
    files: dict[str, None] = {}
    for cls in classes:
        file = source_file(cls)
        if file is None or not Path(file).is_file():
            raise PluginError(f"{cls.__qualname__}: defined in no file; put it into one, so that workers can import it")
        files[str(Path(file).resolve())] = None
    return list(files)
