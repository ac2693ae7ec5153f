"""What tests register has names of its own: no library's, no other file's."""

import ast
from pathlib import Path

import pytest
from mmengine import registry

TESTS = Path(__file__).resolve().parent
ROOTS = [v for v in vars(registry).values() if isinstance(v, registry.Registry)]


def registered_names():
    """Names of the classes that files of tests register, by their file."""
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            texts = [ast.unparse(decorator) for decorator in node.decorator_list]
            if any(".register_module(" in text for text in texts):
                yield node.name, path.name


@pytest.mark.parametrize("library", ["mmcv", "mmdet", "mmpretrain"])
def test_no_toy_has_the_name_of_a_librarys_module(library):
    pytest.importorskip(library)
    if library != "mmcv":
        pytest.importorskip(f"{library}.utils").register_all_modules(False)
    else:
        pytest.importorskip("mmcv.transforms")
    taken = {
        name
        for root in ROOTS
        for one in [root, *root.children.values()]
        for name, module in one.module_dict.items()
        if module.__module__.split(".")[0] == library
    }
    assert len(taken) > 10  # the library's modules are there
    toys = list(registered_names())
    assert len(toys) > 20
    assert [(name, file) for name, file in toys if name in taken] == []


def test_no_two_files_register_the_same_name():
    files = {}
    for name, file in registered_names():
        files.setdefault(name, set()).add(file)
    assert {name: of for name, of in files.items() if len(of) > 1} == {}
