"""Models that the bank installed itself: which there are, the hash of their source, and what a plan may ask of one.

A plugin is an entry point of the group ``fedagent.models``: a callable that takes the number of inputs and returns a
``torch.nn.Module`` from rows (batch, inputs) to logits (batch,). Its hash covers every file of the top-level package or module
that the entry point names, but for ``__pycache__``: the SHA-256 of the lines that ``sha256sum`` prints for them, sorted by path.
Nothing of a plugin is imported before its hash is the plan's, and then from its source, not from cached bytecode.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clientagent.wire.errors import PlanUnsupported, Refusal, TensorsMismatch
from clientagent.wire.plan import Plan
from clientagent.wire.tensors import Shapes
from clientagent.wire.weights import layout_of

if TYPE_CHECKING:
    from torch import nn

GROUP = "fedagent.models"
MOST_FILES, MOST_BYTES = 10_000, 2**28
TRIALS = (7, 12)
"""Numbers of inputs with which a plugin is tried before there is a run that has one."""
Factory = Callable[[int], Any]

log = logging.getLogger("fedagent.plugins")


@dataclass(frozen=True)
class Plugin:
    """One installed plugin. ``hash`` is empty where its source cannot be pinned, and ``problem`` says why."""

    name: str
    hash: str
    package: str
    problem: str
    entry: EntryPoint

    @property
    def family(self) -> str:
        """As a plan names it."""
        return f"{self.name}@{self.hash}"


def installed() -> list[Plugin]:
    """All plugins of this machine, by name; none of them is imported."""
    importlib.invalidate_caches()
    found = []
    for entry in sorted(entry_points(group=GROUP), key=lambda one: (one.name, one.value)):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else ""
        try:
            found.append(Plugin(entry.name, source_hash(entry.module.partition(".")[0]), package, "", entry))
        except Refusal as error:
            found.append(Plugin(entry.name, "", package, error.got, entry))
    return found


def source_hash(top: str) -> str:
    """SHA-256 over the files of an installed top-level package or module. Raises ``PlanUnsupported``."""
    told: list[tuple[bytes, str]] = []
    total = 0
    for path, name in _files(top):
        total += path.stat().st_size
        if len(told) == MOST_FILES or total > MOST_BYTES:
            raise _unpinnable(f"{top} has more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB")
        told.append((os.fsencode(name), hashlib.sha256(path.read_bytes()).hexdigest()))
    lines = b"".join(digest.encode() + b"  " + name + b"\n" for name, digest in sorted(told))
    return hashlib.sha256(lines).hexdigest()


def _files(top: str) -> Iterator[tuple[Path, str]]:
    """(where, path as it is hashed) of each file; links are followed."""
    spec = find_spec(top) if top else None
    if spec is None or spec.origin is None:
        raise _unpinnable(f"there is no package {top} with an __init__.py, and no such module")
    origin = Path(spec.origin)
    if spec.submodule_search_locations is None:
        yield origin, origin.name
        return
    for folder, folders, files in os.walk(origin.parent, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            path = Path(folder) / name
            yield path, path.relative_to(origin.parent.parent).as_posix()


def _unpinnable(why: str) -> PlanUnsupported:
    return PlanUnsupported(expected="a plugin whose source can be hashed", got=why)


# ------------------------------------------------------------------------ what a plan asks
_loaded: dict[str, tuple[str, Factory]] = {}
"""By entry point: the hash of the source that this process runs, and what it made of it."""


def require_installed(plan: Plan) -> Plugin:
    """The plugin of a plan. Raises ``PlanUnsupported`` where it is not installed, or not with the plan's hash."""
    name, _at, wanted = plan.model.family.partition("@")
    known = [plugin for plugin in installed() if plugin.name == name]
    for plugin in known:
        if plugin.hash == wanted:
            return plugin
    got = "; ".join(f"{one.package}: {one.hash or one.problem}" for one in known) or "no plugin of this name"
    raise PlanUnsupported(
        expected=f"an installed model {name} whose source has the hash {wanted}", got=got,
        action="Install that very version of the plugin, look with 'fedagent plans plugins', then approve the plan by hand.",
    )


def build(plan: Plan, inputs: int) -> nn.Module:
    """The plan's module for so many inputs, its weights not yet set. Raises ``PlanUnsupported`` and ``TensorsMismatch``."""
    plugin = require_installed(plan)
    module = _made(plugin, inputs)
    wanted, got = layout_of(plan, inputs).shapes, shapes_of(module)
    if got != wanted:
        raise TensorsMismatch(
            expected=_text(wanted, got), got=_text(got, wanted),
            action="The plan must list the module's weights as 'fedagent plans plugins' prints them.",
        )
    _try(plugin, module, inputs)
    return module.train()


def problem_with(plan: Plan) -> Refusal | None:
    """Why this machine cannot run a plan's plugin, tried with made-up inputs; None where it can, or where there is none."""
    if not plan.model.is_plugin:
        return None
    try:
        for inputs in TRIALS:
            build(plan, inputs)
        if plan.privacy.record_dp is not None:
            from clientagent.privacy.catalogue import gradients_of

            gradients_of(plan, inputs=TRIALS[0], features=TRIALS[0])
    except Refusal as error:
        return error
    return None


def tensors_of(plugin: Plugin) -> list[dict[str, Any]]:
    """The plugin's tensors as a plan lists them, found by building it for two numbers of inputs. Raises ``PlanUnsupported``."""
    few, many = (_made(plugin, inputs) for inputs in TRIALS)
    wide = shapes_of(many)
    found: list[dict[str, Any]] = []
    for name, tensor in few.state_dict().items():
        shape = [_width(*pair) for pair in zip(tensor.shape, wide.get(name, ()), strict=False)]
        start = "uniform" if tensor.dim() > 1 else "ones" if bool((tensor == 1).all()) else "zeros"
        found.append({"name": name, "shape": shape, "start": start})
    return found


def _width(few: int, many: int) -> int | str:
    if few == many:
        return few
    if (few, many) == TRIALS:
        return "inputs"
    raise PlanUnsupported(
        expected="widths that are fixed or the number of inputs", got=f"{few} for {TRIALS[0]} inputs, {many} for {TRIALS[1]}"
    )


def shapes_of(module: nn.Module) -> Shapes:
    """The shapes of a module's weights. Raises ``PlanUnsupported`` for one that keeps anything but float32 weights."""
    import torch

    weights, kept = dict(module.named_parameters()), module.state_dict()
    if strange := sorted(set(kept) ^ set(weights)):
        raise PlanUnsupported(
            expected="a module whose state is its weights, each once", got=f"buffers or shared weights: {', '.join(strange)}"[:500],
            action="Use layers without running statistics (LayerNorm or GroupNorm instead of BatchNorm).",
        )
    if odd := [name for name, weight in weights.items() if weight.dtype != torch.float32 or not weight.requires_grad]:
        raise PlanUnsupported(expected="trainable float32 weights", got=", ".join(odd)[:500])
    return {name: tuple(weight.shape) for name, weight in weights.items()}


# ------------------------------------------------------------------------ its code
def require_torch() -> None:
    """Raises ``PlanUnsupported`` where torch is not installed."""
    if find_spec("torch") is None:
        raise PlanUnsupported(expected="torch, which a plugin needs: pip install 'fedagent[train]'", got="no torch")


def _made(plugin: Plugin, inputs: int) -> nn.Module:
    """What the plugin makes. Its faults are not ours, so they are told as refusals."""
    require_torch()
    from torch import nn

    try:
        module = _factory(plugin)(inputs)
    except Refusal:
        raise
    except Exception as error:
        raise _faulty(plugin, f"build for {inputs} inputs", error) from error
    if not isinstance(module, nn.Module):
        raise PlanUnsupported(expected=f"{plugin.name} to return a torch.nn.Module", got=type(module).__name__)
    return module


def _factory(plugin: Plugin) -> Factory:
    """The plugin's callable, imported once. Raises ``PlanUnsupported`` where this process runs another state of its source."""
    top = plugin.entry.module.partition(".")[0]
    if plugin.entry.value not in _loaded:
        if top in sys.modules and not any(running == plugin.hash for running, _ in _loaded.values()):
            raise _restart(plugin)
        with _from_source():
            _loaded[plugin.entry.value] = plugin.hash, plugin.entry.load()
    running, factory = _loaded[plugin.entry.value]
    if running != plugin.hash:
        raise _restart(plugin)
    return factory


def _restart(plugin: Plugin) -> PlanUnsupported:
    return PlanUnsupported(
        expected=f"a process that runs {plugin.family}", got="one that loaded its package before it was changed",
        action="Restart the agent.",
    )


@contextmanager
def _from_source() -> Iterator[None]:
    """Cached bytecode is not part of the hash, so none is read, nor written."""
    before = sys.pycache_prefix, sys.dont_write_bytecode
    with tempfile.TemporaryDirectory(prefix="fedagent-") as folder:
        sys.pycache_prefix, sys.dont_write_bytecode = folder, True
        try:
            yield
        finally:
            sys.pycache_prefix, sys.dont_write_bytecode = before


def _try(plugin: Plugin, module: nn.Module, inputs: int) -> None:
    """Two rows of zeros must become two logits."""
    import torch

    try:
        with torch.no_grad():
            logits = module.eval()(torch.zeros(2, inputs))
    except Exception as error:
        raise _faulty(plugin, f"score rows of {inputs} inputs", error) from error
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != (2,):
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise PlanUnsupported(expected="one logit a row: shape (2,) for two rows", got=str(got))


def _faulty(plugin: Plugin, what: str, error: Exception) -> PlanUnsupported:
    log.error("plugin %s cannot %s", plugin.name, what, exc_info=error)
    return PlanUnsupported(expected=f"plugin {plugin.name} to {what}", got=f"{type(error).__name__}: {error}"[:500])


def _text(shapes: Shapes, other: Shapes) -> str:
    """The tensors that differ, for the error message."""
    told = [f"{name}{list(shape)}" for name, shape in sorted(shapes.items()) if other.get(name) != shape]
    return (", ".join(told) or "no more tensors")[:500]


@contextmanager
def at_work(plan: Plan) -> Iterator[None]:
    """A plugin that fails on the bank's rows is told as a refusal, without its words: they may quote a customer."""
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        if not plan.model.is_plugin:
            raise
        log.error("plugin %s failed at work", plan.model.family, exc_info=error)
        raise PlanUnsupported(
            expected=f"{plan.model.family.partition('@')[0]} to run on the bank's rows", got=type(error).__name__,
            action="The agent's log has the whole error; ask whoever wrote the plugin.",
        ) from error
