"""Nothing in our sources can run code that comes from outside as data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "backend"

_MODULES = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code",
}  # fmt: skip
_CALLS = {"eval", "exec", "compile", "__import__"}
_ERROR_OF_TORCH = "UnpicklingError"
"""What torch raises for a refused file; to name it pickle has to be imported."""


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield str(path.relative_to(ROOT.parent)), ast.parse(path.read_text("utf-8"))


def suspicious(tree: ast.Module) -> Iterator[str]:
    """What unpickles, or runs a text, in one module."""
    used_of_pickle = set()
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in _MODULES:
            yield f"line {node.lineno}: from {node.module}"
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in _MODULES
        ):
            used_of_pickle.add(node.attr)
        if isinstance(node, ast.Call):
            yield from _call(node)
    if imported & (_MODULES - {"pickle"}):
        yield f"imports {imported & _MODULES}"
    if "pickle" in imported and used_of_pickle != {_ERROR_OF_TORCH}:
        yield f"uses {used_of_pickle} of pickle"


def _call(node: ast.Call) -> Iterator[str]:
    function = ast.unparse(node.func)
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if function in _CALLS:
        yield f"line {node.lineno}: {function}"
    if function == "torch.load" and given.get("weights_only") != "True":
        yield f"line {node.lineno}: torch.load without weights_only=True"
    if function.endswith(".load") and given.get("allow_pickle", "False") != "False":
        yield f"line {node.lineno}: {function} with pickles allowed"
    if function in ("torch.save", "torch.jit.load", "torch.hub.load", "np.save", "yaml.load"):
        yield f"line {node.lineno}: {function}"
    if given.get("shell", "False") != "False":
        yield f"line {node.lineno}: a shell"
    # RQ's own serializer is pickle: each queue and worker says that it wants the other one.
    for_rq = function in ("Queue", "SimpleWorker", "super().__init__") and "job_class" in given
    if for_rq and given.get("serializer") != "JSONSerializer":
        yield f"line {node.lineno}: {function} without the JSON serializer"
    if function.endswith(("Job.fetch", "Job.fetch_many")) and "serializer" not in given:
        yield f"line {node.lineno}: {function} without a serializer"


def test_our_sources() -> None:
    found = {name: list(suspicious(tree)) for name, tree in trees()}
    assert len(found) > 100
    # A distillation keeps its own state to go on from, and reads it back with weights alone.
    allowed = {"backend/evaluation/distil/checkpoint.py": "torch.save"}
    guilty = {
        name: kept
        for name, lines in found.items()
        if (kept := [line for line in lines if not line.endswith(allowed.get(name, "nothing"))])
    }
    assert guilty == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\npickle.loads(b'')",
        "from pickle import loads",
        "import joblib",
        "eval('1')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run('ls', shell=True)",
        "Queue('a', connection=c, job_class=J)",
        "SafeJob.fetch('a', connection=c)",
    ],
)
def test_this_would_be_found(code: str) -> None:
    assert list(suspicious(ast.parse(code)))
