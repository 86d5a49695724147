"""What a person reads first of a failure: the words of the loss or network that raised it."""

from __future__ import annotations

import pytest

from workers.process.failures import failure_text

# As TensorFlow 2.21 and Keras 3.15 wrote them, shortened.
PY_FUNCTION = """Graph execution error:

Detected at node EagerPyFunc defined at (most recent call last):
  File "mine.py", line 23, in <module>

  File "mine.py", line 8, in g

ValueError: my loss wants masks of two classes
and found three
Traceback (most recent call last):

  File "script_ops.py", line 267, in __call__
    return func(device, token, args)
           ^^^^^^^^^^^^^^^^^^^^^^^^^

ValueError: my loss wants masks of two classes
and found three


\t [[{{node EagerPyFunc}}]] [Op:__inference_g_15]"""
ASSERTION = """Graph execution error:

Detected at node assert_less/Assert/AssertGuard/Assert defined at (most recent call last):
  File "mine.py", line 11, in h

assertion failed: [my values must be below one] [Condition x < y did not hold element-wise:] [2]
\t [[{{node assert_less/Assert/AssertGuard/Assert}}]] [Op:__inference_h_51]"""
TRACED = """in user code:

    File "mine.py", line 21, in m  *
        return tf.matmul(x, tf.reshape(y,(-1,3)))

    ValueError: Dimension size must be evenly divisible by 3 but is 7
"""
LAYER = (
    "Exception encountered when calling Mine.call().\n\n\x1b[1mno such depth: 9\x1b[0m\n\n"
    "Arguments received by Mine.call():\n  • x=1"
)


class InvalidArgumentError(Exception):
    """Named as TensorFlow's."""


@pytest.mark.parametrize(
    ("error", "first_line"),
    [
        (InvalidArgumentError(PY_FUNCTION), "ValueError: my loss wants masks of two classes"),
        (
            InvalidArgumentError(ASSERTION),
            "InvalidArgumentError: assertion failed: [my values must be below one] "
            "[Condition x < y did not hold element-wise:] [2]",
        ),
        (ValueError(TRACED), "ValueError: Dimension size must be evenly divisible by 3 but is 7"),
        (ValueError(LAYER), "ValueError: no such depth: 9"),
        (KeyError("mine"), "KeyError: 'mine'"),
        (RuntimeError("Graph execution error:"), "RuntimeError: Graph execution error:"),
        (RuntimeError(""), "RuntimeError: "),
    ],
)
def test_the_words_of_the_plug_in_stand_first(error: Exception, first_line: str) -> None:
    assert failure_text(error).splitlines()[0] == first_line


def test_the_whole_text_follows() -> None:
    text = failure_text(InvalidArgumentError(PY_FUNCTION))
    assert text.splitlines()[1] == "and found three"
    assert "Detected at node EagerPyFunc" in text
    assert "\x1b" not in failure_text(ValueError(LAYER))
