"""Plugins: finding them, keeping a broken one from breaking the rest, and the methods they bring."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pluggy

from xaipipe import hookspecs
from xaipipe.errors import InputError, UsageError, XaipipeError, did_you_mean
from xaipipe.loading import GROUP, Source, file_spec, import_spec, reason
from xaipipe.stages import KINDS, Stage


@dataclass(frozen=True, slots=True)
class PluginState:
    """What became of one plugin: loaded, blocked, or broken with the reason."""

    name: str
    origin: str
    state: str
    reason: str = ""


class Registry:
    """The plugin manager, every plugin's state, and the methods by kind and name.

    Built from names alone (`blocked`, `files`), so that a worker can build the same one.
    """

    def __init__(self, blocked: Iterable[str] = (), files: Iterable[str | Path] = ()) -> None:
        self.blocked = tuple(blocked)
        self.files = tuple(str(file) for file in files)
        self.hooks = pluggy.PluginManager("xaipipe")
        self.hooks.add_hookspecs(hookspecs)
        self.plugins: list[PluginState] = []
        self._sources: list[Source] = []
        self._methods: dict[tuple[str, str], tuple[type[Stage], str]] = {}
        self._load_installed()
        for file in self.files:
            self._load_file(Path(file))
        known = {plugin.name for plugin in self.plugins}
        for name in self.blocked:
            if name not in known:
                raise UsageError(f"there is no plugin '{name}' to leave out", hint=did_you_mean(name, known))

    def method(self, kind: str, name: str) -> type[Stage]:
        """The method of that kind and name, or a worded error."""
        found = self._methods.get((kind, name))
        if found is not None:
            return found[0]
        others = [k for k, n in self._methods if n == name]
        if others:
            raise UsageError(f"'{name}' is a {others[0]} method", expected=f"a {kind} method")
        raise UsageError(
            f"there is no {kind} method '{name}'",
            where=self._absent_note(),
            hint=did_you_mean(name, self.names(kind)),
        )

    def names(self, kind: str | None = None) -> list[str]:
        return sorted(name for k, name in self._methods if kind in (None, k))

    def methods(self) -> list[tuple[type[Stage], str]]:
        """Every method with the plugin it comes from, in the order of the stages."""
        order = list(KINDS)
        return sorted(self._methods.values(), key=lambda found: (order.index(found[0].kind), found[0].name))

    def answers(self, hook: str, **arguments: Any) -> list[Any]:
        """A hook, plugin by plugin: one that fails is taken out and listed as broken, and the others count."""
        found: list[Any] = []
        for name, plugin in self.hooks.list_name_plugin():
            try:
                found.extend(_only(self.hooks, hook, plugin)(**arguments))
            except (Exception, SystemExit) as error:
                self.hooks.unregister(plugin)
                self._methods = {key: found for key, found in self._methods.items() if found[1] != name}
                broken = reason(error)
                self.plugins[:] = [
                    replace(p, state="broken", reason=broken) if p.name == name else p for p in self.plugins
                ]
        return found

    def sources(self, *hooks: str) -> tuple[Source, ...] | None:
        """Where the plugins with any of some hooks come from, for a process that loads the same ones in the same order.

        None where one of them was made in this process and has no name to be found by.
        """
        having = {impl.plugin_name for hook in hooks for impl in getattr(self.hooks.hook, hook).get_hookimpls()}
        found = tuple(source for source in self._sources if source.name in having)
        return found if len(found) == len(having) else None

    def _load_installed(self) -> None:
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
            origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
            if entry.name in self.blocked:
                self.plugins.append(PluginState(entry.name, origin, "blocked"))
                continue
            try:
                plugin = entry.load()
                self._register(plugin, entry.name)
            except DuplicateMethodError:
                raise
            except (Exception, SystemExit) as error:
                self.plugins.append(PluginState(entry.name, origin, "broken", reason(error)))
                continue
            self.plugins.append(PluginState(entry.name, origin, "loaded"))
            self._sources.append(Source(entry.name, None))

    def _load_file(self, path: Path) -> None:
        """A plugin the user named himself: here a failure is an error, not a line in a list."""
        if not path.is_file():
            raise UsageError("there is no such plugin file", where=path)
        name = path.stem
        if name in self.blocked:
            self.plugins.append(PluginState(name, str(path), "blocked"))
            return
        spec = file_spec(path)
        try:
            self._register(import_spec(spec), name)
        except DuplicateMethodError:
            raise
        except (Exception, SystemExit) as error:
            raise InputError(f"plugin '{name}' cannot be loaded", got=reason(error), where=path) from error
        self.plugins.append(PluginState(name, str(path), "loaded"))
        self._sources.append(Source(name, str(path.absolute())))

    def _register(self, plugin: Any, name: str) -> None:
        """All or nothing: a plugin that fails half-way leaves no hook and no method behind."""
        if self.hooks.has_plugin(name):
            raise UsageError(f"another plugin is called '{name}' already")
        self.hooks.register(plugin, name=name)
        try:
            self.hooks.check_pending()
            _check_marked(plugin)
            methods = [_checked(method, name) for method in _methods_of(self.hooks, plugin)]
        except BaseException:
            self.hooks.unregister(plugin)
            raise
        for method in methods:
            key = (method.kind, method.name)
            if key in self._methods:
                raise _duplicate(method, self._methods[key][1], name)
            method.plugin = name
            self._methods[key] = (method, name)

    def _absent_note(self) -> str | None:
        """Plugins that are not there may be why a method is not."""
        absent = [plugin for plugin in self.plugins if plugin.state != "loaded"]
        notes = [f"plugin '{p.name}' is {p.state}" + (f": {p.reason}" if p.reason else "") for p in absent]
        return "; ".join(notes) or None


class DuplicateMethodError(UsageError):
    """Two plugins with one method name: refused, since the user could not know which one ran."""


def _duplicate(method: type[Stage], first: str, second: str) -> XaipipeError:
    if first == second:
        return InputError(f"plugin '{first}' brings two {method.kind} methods called '{method.name}'")
    return DuplicateMethodError(
        f"two plugins bring the {method.kind} method '{method.name}'",
        got=f"'{first}' and '{second}'",
        hint=f"leave one out: -p no:{first} or -p no:{second}",
    )


def _methods_of(hooks: pluggy.PluginManager, plugin: Any) -> list[Any]:
    methods: list[Any] = []
    for answer in _only(hooks, "xaipipe_methods", plugin)():
        if not isinstance(answer, Iterable) or isinstance(answer, type):
            raise InputError("xaipipe_methods returned something else than a list", got=repr(answer))
        methods.extend(answer)
    return methods


def _only(hooks: pluggy.PluginManager, hook: str, plugin: Any) -> pluggy.HookCaller:
    """One plugin's share of a hook."""
    return hooks.subset_hook_caller(hook, [other for other in hooks.get_plugins() if other is not plugin])


def _check_marked(plugin: Any) -> None:
    """A function with a hook's name that lacks the mark would never be called, and nobody would know why."""
    for name, spec in vars(hookspecs).items():
        function = vars(plugin).get(name) if hasattr(spec, "xaipipe_spec") else None
        own = getattr(function, "__module__", None) == getattr(plugin, "__name__", "")
        if own and not hasattr(function, "xaipipe_impl"):
            raise InputError(f"the hook '{name}' is not marked", expected="@xaipipe.hookimpl above it")


def _checked(method: Any, plugin: str) -> type[Stage]:
    if not (isinstance(method, type) and issubclass(method, Stage)):
        raise InputError(
            f"plugin '{plugin}' returned something else than a method",
            got=repr(method),
            expected="subclasses of Loader, Explainer, Postprocessor, Segmenter or Store",
        )
    if getattr(method, "kind", None) not in KINDS or not isinstance(getattr(method, "name", None), str):
        raise InputError(f"method {method.__name__} of plugin '{plugin}' has no name", expected='name = "my-method"')
    if method.__abstractmethods__:
        missing = ", ".join(sorted(method.__abstractmethods__))
        raise InputError(f"method '{method.name}' of plugin '{plugin}' is not finished", expected=f"a def of {missing}")
    return method
