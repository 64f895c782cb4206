"""What logs call their metrics, and what learnrate calls them."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from learnrate.curves import Mode

_TRAINING = {"train", "training"}
_VALIDATION = {"val", "valid", "validation", "eval", "evaluation", "dev"}
_ALIASES = {"acc": "accuracy"}
_EPOCHS = {"epoch", "epochs"}
_STEPS = {"step", "steps", "global_step", "trainer_global_step", "iteration", "iterations", "iter"}
_SMALLER_IS_BETTER = {
    *("loss", "error", "err", "mse", "mae", "rmse", "mape", "nll", "perplexity", "ppl"),
    *("crossentropy", "entropy", "divergence", "wer", "cer", "fid", "logloss", "bce", "kl", "msle", "rmsle", "brier"),
    *("hinge", "deviance", "distance", "cost", "regret"),
}
_LARGER_IS_BETTER = {
    *("accuracy", "acc", "auc", "f1", "precision", "recall", "dice", "iou", "jaccard", "r2", "score", "neg"),
    *("bleu", "rouge", "map", "psnr", "ssim", "reward", "correlation", "top1", "top5", "kappa", "mcc", "ndcg", "mrr"),
    *("sensitivity", "specificity", "gini"),
}


def canonical(name: str) -> str:
    """Return learnrate's name of a metric: training metrics bare, validation metrics with the prefix `val_`.

    Words may be joined by anything that is no letter or digit, in upper or lower case. A word for training (train,
    training) at either end is dropped, one for validation (val, valid, validation, eval, evaluation, dev) becomes the
    prefix `val_`, `epoch` at either end is dropped where more is left, and `acc` is written out. "test" stays: it is
    not for choosing by.

    Example:
        >>> [canonical(name) for name in ("train_loss", "Loss/val", "eval_acc", "train_loss_epoch", "epoch_loss")]
        ['loss', 'val_loss', 'val_accuracy', 'loss', 'loss']
    """
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    prefix = ""
    while len(words) > 1:
        for end in (0, -1):
            if words[end] in _TRAINING | _VALIDATION | _EPOCHS:
                prefix = "val_" if words[end] in _VALIDATION else prefix
                del words[end]
                break
        else:
            break
    return prefix + "_".join(_ALIASES.get(word, word) for word in words) if words else name


def canonical_names(names: Iterable[str]) -> dict[str, str]:
    """Return learnrate's name for each name; where two would be the same, one keeps it and the others stay as they are.

    The one that already bears it comes first, then the mean over an epoch ("…_epoch"), then the first.

    Example:
        >>> canonical_names(["train_loss_step", "train_loss_epoch", "train_loss"])
        {'train_loss_step': 'loss_step', 'train_loss_epoch': 'loss', 'train_loss': 'train_loss'}
    """
    names = list(names)
    owner: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (name != canonical(name), not name.lower().endswith("epoch"))):
        owner.setdefault(canonical(name), name)
    return {name: canonical(name) if owner[canonical(name)] == name else name for name in names}


def is_epoch(name: str) -> bool:
    """Say whether a column counts epochs."""
    return canonical(name) in _EPOCHS


def is_step(name: str) -> bool:
    """Say whether a column counts steps."""
    return canonical(name) in _STEPS


def is_learning_rate(name: str) -> bool:
    """Say whether a column holds the learning rate: `learning_rate` or `lr`, also of one parameter group."""
    plain = canonical(name)
    of_a_group = plain.startswith(("lr_", "learning_rate_")) and not plain.endswith(("momentum", "decay"))
    return plain in {"lr", "learning_rate"} or of_a_group


def mode_of(metric: str) -> Mode:
    """Return whether smaller or larger is better, from the words in the metric's name, or words that are nearly these.

    Raises:
        InvalidArgumentError: If the name does not tell.

    Example:
        >>> mode_of("val_loss"), mode_of("val_f1"), mode_of("val_acuracy")
        ('min', 'max', 'max')
    """
    words = set(re.split(r"[\W_]+", metric.lower()))
    if not words & (_SMALLER_IS_BETTER | _LARGER_IS_BETTER):
        known = sorted(_SMALLER_IS_BETTER | _LARGER_IS_BETTER)
        words |= {near for word in words for near in difflib.get_close_matches(word, known, n=1, cutoff=0.8)}
    if "neg" not in words and words & _SMALLER_IS_BETTER:
        return "min"
    if words & _LARGER_IS_BETTER:
        return "max"
    msg = f'the name {metric!r} does not say whether smaller or larger is better: pass mode="min" or mode="max"'
    raise InvalidArgumentError(msg)


def deciding(metrics: Iterable[str]) -> str | None:
    """Return the metric that decides: the validation loss, else another validation metric, else a training one."""
    known = list(metrics)
    losses = [name for name in ("val_loss", "loss", "val_accuracy", "accuracy") if name in known]
    validation = [name for name in known if name.startswith("val_")]
    if "val_loss" in known:
        return "val_loss"
    return next(iter([*_judged(validation), *losses, *_judged(known)]), None)


def _judged(names: list[str]) -> list[str]:
    """Return the names whose direction is known, accuracy first."""
    known = [name for name in names if set(re.split(r"[\W_]+", name)) & (_SMALLER_IS_BETTER | _LARGER_IS_BETTER)]
    return sorted(known, key=lambda name: not name.endswith("accuracy"))


def training_counterpart(metric: str, metrics: Iterable[str]) -> str | None:
    """Return the training metric that belongs to a validation metric; None where there is none."""
    plain = metric.removeprefix("val_").removeprefix("test_")
    return plain if plain != metric and plain in metrics else None
