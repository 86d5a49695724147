"""What a person reads first of a failure: the words of the loss or network that raised it."""

from __future__ import annotations

import pytest

from trials.states import FailureKind
from workers.process.failures import classify, failure_text

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


# As TensorFlow 2.21 wrote it, shortened; and as its kernels for a GPU word it.
REFUSED = (
    "GPU MaxPool gradient ops do not yet have a deterministic XLA implementation.\n"
    "\t [[{{node gradient_tape/MaxPool2d/MaxPoolGrad}}]]\n"
    "\ttf2xla conversion failed while converting __inference_f_10. [Op:__inference_f_10]"
)
ON_A_GPU = """Graph execution error:

Detected at node UnsortedSegmentSum defined at (most recent call last):
  File "mine.py", line 11, in h

Deterministic GPU implementation of unsorted segment reduction op not available.
\t [[{{node UnsortedSegmentSum}}]] [Op:__inference_h_51]"""


class UnimplementedError(Exception):
    """Named as TensorFlow's."""


@pytest.mark.parametrize(("text", "operation"), [(REFUSED, "MaxPool gradient"), (ON_A_GPU, "unsorted segment")])
def test_a_refused_operation_is_a_setting_and_named_with_it(text: str, operation: str) -> None:
    error = UnimplementedError(text)
    assert classify(error) is FailureKind.BAD_SETTINGS
    first, _, whole = failure_text(error).partition("\n\n")
    assert operation in first
    assert "training.deterministic = false" in first
    assert text in whole


def test_a_loss_that_speaks_of_determinism_is_refused_by_nobody() -> None:
    assert classify(ValueError("my loss is not deterministic")) is FailureKind.BUG
