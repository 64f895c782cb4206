"""Everything that learnrate raises, drawn as a tree.

- `LearnrateError`
    - `InvalidArgumentError` (also a `ValueError`): an argument that cannot be used
    - `UnsupportedProblemError` (also a `TypeError`): a problem that cannot be trained, or not in the way asked
    - `UnknownMetricError` (also a `LookupError`): a metric that the training does not report
    - `MissingExtraError` (also an `ImportError`): a framework that is not installed
    - `TrialFailedError` (also a `RuntimeError`): the user's training failed where no other trial can answer
    - `StudyError`
        - `StudyMismatchError`: the folder holds the study of another problem, or of other settings
        - `StudyLockedError`: another process is working on the study
        - `StudyDamagedError`: the folder cannot be read
    - `LogError` (also a `ValueError`): a log that cannot be read

Every message says what came, what is allowed and what to do.
"""

from __future__ import annotations


class LearnrateError(Exception):
    """The base of every error that learnrate raises on purpose."""


class InvalidArgumentError(LearnrateError, ValueError):
    """An argument that cannot be used: nothing has been trained yet."""


class UnsupportedProblemError(LearnrateError, TypeError):
    """A model, optimizer, loss or data that cannot be trained, or not in the way that was asked."""


class UnknownMetricError(LearnrateError, LookupError):
    """The metric asked for is not among those that training reports."""


class MissingExtraError(LearnrateError, ImportError):
    """A framework is needed that is not installed."""


class TrialFailedError(LearnrateError, RuntimeError):
    """Training failed, and there is no other trial that could answer."""


class StudyError(LearnrateError):
    """Something is wrong with a study folder."""


class StudyMismatchError(StudyError):
    """The folder holds the study of another problem, or of other settings."""


class StudyLockedError(StudyError):
    """Another process is working on the study."""


class StudyDamagedError(StudyError):
    """The study cannot be read."""


class LogError(LearnrateError, ValueError):
    """A log that cannot be read as learning curves; the message names the file and the line."""
