"""The code digest: what a stage imports counts, prose does not."""

import ast

from arriero.pipeline import code


def test_modules_follow_imports_downwards() -> None:
    modules = code.modules_of("arriero.pipeline.recipe")
    assert {"arriero.pipeline.recipe", "arriero.pipeline.iteration", "arriero.config.load", "arriero.errors"} <= set(
        modules
    )
    assert "arriero.report.build" not in modules
    assert "arriero.cli.main" not in modules


def test_comments_docstrings_and_layout_do_not_count() -> None:
    one = ast.parse('"""Doc."""\ndef f(x):\n    """Doc."""\n    return x + 1  # why\n')
    two = ast.parse("def f(x):\n\n    return (x + 1)\n")
    three = ast.parse("def f(x):\n    return x + 2\n")
    assert code._without_docstrings(one) == code._without_docstrings(two) != code._without_docstrings(three)
