"""Plugins: found by entry point or by file; a broken one is isolated, a duplicate refused."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from xaipipe import InputError, Registry, UsageError
from xaipipe.loading import blamed
from xaipipe.registry import PluginState

Install = Callable[..., None]

PLAIN = """
class Plain(Postprocessor):
    name = "plain"
    def apply(self, explanation): return explanation

@hookimpl
def xaipipe_methods(): return [Plain]
"""


def state(registry: Registry, name: str) -> PluginState:
    (found,) = [plugin for plugin in registry.plugins if plugin.name == name]
    return found


def test_first_party_plugins_are_all_loaded(registry: Registry) -> None:
    assert {plugin.state for plugin in registry.plugins} == {"loaded"}
    assert {"cam", "gradients", "postprocess", "readers", "segment", "store"} <= {p.name for p in registry.plugins}


def test_methods_come_in_the_order_of_the_stages(registry: Registry) -> None:
    kinds = [method.kind for method, _ in registry.methods()]
    assert kinds == sorted(kinds, key=["load", "explain", "postprocess", "segment", "store"].index)


def test_an_installed_package_brings_its_methods(install: Install) -> None:
    install("xp_plain", PLAIN)
    registry = Registry()
    assert registry.method("postprocess", "plain").name == "plain"
    assert state(registry, "xp_plain") == PluginState("xp_plain", "xp_plain 1.0", "loaded")


METHODS = "@hookimpl\ndef xaipipe_methods(): return "
NOT_A_LIST = "InputError: xaipipe_methods returned something else than a list"
UNMARKED = "InputError: the hook 'xaipipe_methods' is not marked; expected: @xaipipe.hookimpl above it"
SIGNATURE = (
    "PluginValidationError: Plugin 'xp_bad' for hook 'xaipipe_methods'; "
    "hookimpl definition: xaipipe_methods(colour); Argument(s) {'colour'}"
)
NAMELESS = "class A(Postprocessor):\n    def apply(self, e): return e\n"
UNFINISHED = "class A(Postprocessor):\n    name = 'a'\n"
KINDLESS = "class A(Stage):\n    name = 'a'\n    def process(self, item, run): ...\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero (xp_bad.py:3)"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (xp_bad.py:3)"),
        ("def broken(:", "SyntaxError: invalid syntax (xp_bad.py, line 3)"),
        ("raise SystemExit(3)", "SystemExit: 3 (xp_bad.py:3)"),
        (METHODS + "1 / 0", "ZeroDivisionError: division by zero (xp_bad.py:4)"),
        (METHODS + "3", NOT_A_LIST + "; got: 3"),
        (METHODS + "Loader", NOT_A_LIST),
        (METHODS + "['x']", "returned something else than a method; got: 'x'; expected: subclasses of Loader"),
        ("@hookimpl\ndef xaipipe_methods(colour): return []", SIGNATURE),
        ("@hookimpl\ndef xaipipe_method(): return []", "PluginValidationError: unknown hook 'xaipipe_method'"),
        ("def xaipipe_methods(): return []", UNMARKED),
        (NAMELESS + METHODS + "[A]", "InputError: method A of plugin 'xp_bad' has no name; expected: name ="),
        (UNFINISHED + METHODS + "[A]", "method 'a' of plugin 'xp_bad' is not finished; expected: a def of apply"),
        (KINDLESS + METHODS + "[A]", "InputError: method A of plugin 'xp_bad' has no name"),
    ],
)
def test_a_broken_plugin_is_listed_with_its_reason_and_the_rest_works(
    install: Install, source: str, reason: str
) -> None:
    install("xp_bad", source)
    registry = Registry()
    assert state(registry, "xp_bad").state == "broken"
    assert reason in state(registry, "xp_bad").reason
    assert registry.method("explain", "gradcam")


def test_a_plugin_that_fails_half_way_leaves_nothing_behind(install: Install) -> None:
    source = PLAIN.replace("return [Plain]", "return [Plain, 3]") + "\n@hookimpl\ndef open_slide(path): return 3"
    install("xp_half", source)
    registry = Registry()
    assert "plain" not in registry.names()
    assert not registry.hooks.has_plugin("xp_half")
    assert "xp_half" not in {impl.plugin_name for impl in registry.hooks.hook.open_slide.get_hookimpls()}


def test_a_missing_method_mentions_the_broken_plugin_that_might_have_brought_it(install: Install) -> None:
    install("xp_bad", "1 / 0")
    with pytest.raises(UsageError, match="where: plugin 'xp_bad' is broken: ZeroDivisionError"):
        Registry().method("explain", "lime")


def test_an_entry_point_to_nowhere_is_isolated(install: Install, tmp_path: Path) -> None:
    install("xp_gone", "")
    (tmp_path / "site" / "xp_gone.py").unlink()
    assert state(Registry(), "xp_gone").reason == "ModuleNotFoundError: No module named 'xp_gone'"


def test_two_plugins_with_one_method_name_are_refused_naming_both(install: Install) -> None:
    install("xp_one", PLAIN)
    install("xp_two", PLAIN)
    with pytest.raises(UsageError) as caught:
        Registry()
    assert str(caught.value) == (
        "two plugins bring the postprocess method 'plain'\n"
        "  got: 'xp_one' and 'xp_two'\n"
        "  next: leave one out: -p no:xp_one or -p no:xp_two"
    )


def test_leaving_one_of_two_out_settles_it(install: Install) -> None:
    install("xp_one", PLAIN)
    install("xp_two", PLAIN)
    registry = Registry(blocked=["xp_two"])
    assert ("plain", "xp_one") in [(method.name, plugin) for method, plugin in registry.methods()]
    assert state(registry, "xp_two").state == "blocked"


def test_one_name_may_serve_two_kinds_of_stage(install: Install) -> None:
    install("xp_one", PLAIN.replace('"plain"', '"gradcam"'))
    registry = Registry()
    assert registry.method("postprocess", "gradcam") is not registry.method("explain", "gradcam")


def test_a_second_package_with_a_plugins_name_is_broken(install: Install) -> None:
    install("xp_other", PLAIN, entry="cam")
    registry = Registry()
    assert sorted(plugin.state for plugin in registry.plugins if plugin.name == "cam") == ["broken", "loaded"]
    assert any("another plugin is called 'cam' already" in plugin.reason for plugin in registry.plugins)


def test_a_blocked_plugin_is_never_imported(install: Install) -> None:
    install("xp_bad", "1 / 0")
    assert state(Registry(blocked=["xp_bad"]), "xp_bad") == PluginState("xp_bad", "xp_bad 1.0", "blocked")


def test_blocking_removes_the_methods() -> None:
    assert "gradcam" not in Registry(blocked=["cam"]).names("explain")


def test_blocking_what_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no plugin 'camm' to leave out\n  next: did you mean 'cam'"):
        Registry(blocked=["camm"])


def plugin_file(tmp_path: Path, source: str, name: str = "mine.py") -> Path:
    path = tmp_path / name
    path.write_text("from xaipipe import *\nfrom xaipipe import hookimpl\n" + source)
    return path


def test_a_file_is_a_plugin(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, PLAIN)
    registry = Registry(files=[path])
    assert registry.names("postprocess").count("plain") == 1
    assert state(registry, "mine") == PluginState("mine", str(path), "loaded")


def test_a_blocked_file_is_not_run(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, "1 / 0")
    assert state(Registry(blocked=["mine"], files=[path]), "mine").state == "blocked"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "got: ZeroDivisionError: division by zero (mine.py:3)"),
        ("raise SystemExit", "got: SystemExit"),
        (METHODS + "[3]", "got: InputError: plugin 'mine' returned something else than a method"),
        ("@hookimpl\ndef open_slide(file): return None", "Argument(s) {'file'} are declared in the hookimpl"),
        ("@hookimpl\ndef open_slid(path): return None", "unknown hook 'open_slid'"),
    ],
)
def test_a_named_file_that_fails_is_an_error(tmp_path: Path, source: str, message: str) -> None:
    path = plugin_file(tmp_path, source)
    with pytest.raises(InputError) as caught:
        Registry(files=[path])
    assert str(caught.value).startswith("plugin 'mine' cannot be loaded\n")
    assert message in str(caught.value)
    assert f"where: {path}" in str(caught.value)


def test_a_missing_plugin_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no such plugin file\n  where: .*mine\.py"):
        Registry(files=[tmp_path / "mine.py"])


def test_a_plugin_file_has_to_be_python(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a plugin file is Python\n  got: mine.txt\n  expected: .*\.py"):
        Registry(files=[plugin_file(tmp_path, "", "mine.txt")])


def test_a_file_that_brings_a_known_method_is_refused_naming_both(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, PLAIN.replace('"plain"', '"relu"'))
    with pytest.raises(
        UsageError, match="two plugins bring the postprocess method 'relu'\n  got: 'postprocess' and 'mine'"
    ):
        Registry(files=[path])


def test_a_registry_is_rebuilt_from_names(tmp_path: Path) -> None:
    first = Registry(blocked=["cam"], files=[plugin_file(tmp_path, PLAIN)])
    names = pickle.loads(pickle.dumps((first.blocked, first.files)))
    again = Registry(*names)
    assert again.plugins == first.plugins
    assert again.names() == first.names()


def test_an_error_inside_a_hook_is_blamed_on_its_plugin(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, "def deep(): raise KeyError('x')\n@hookimpl\ndef open_slide(path): deep()")
    registry = Registry(files=[path])
    with pytest.raises(KeyError) as caught:
        registry.hooks.hook.open_slide(path=path)
    assert blamed(registry.hooks, caught.value) == "plugin 'mine': KeyError: 'x' (mine.py:3)"
