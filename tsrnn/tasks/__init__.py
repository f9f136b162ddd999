"""Tasks: one file each. `@register_task` registers a class as a task, wherever it is defined."""
# ruff: noqa: I001 - the order of these imports is the order of registration, and so that of tables and legends.

from tsrnn.tasks.base import TASKS, Task, register_task
from tsrnn.tasks.bits import BitTask, Lengths, ones_among_last
from tsrnn.tasks.parity import Parity
from tsrnn.tasks.dms import DMS
from tsrnn.tasks.sines import Sines

__all__ = ["DMS", "TASKS", "BitTask", "Lengths", "Parity", "Sines", "Task", "ones_among_last", "register_task"]
