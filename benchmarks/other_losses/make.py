"""Values of losses as MONAI, segmentation-models-pytorch and PyTorch compute them, written to values.json.

    python -m venv other && other/bin/pip install -r requirements.txt && other/bin/python make.py

Made once: the tests read the file and need neither package. Each entry says which loss of ours it is, with which
settings, and what of the other's convention the settings stand for.
"""

# ruff: noqa: E501
from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai import losses as monai
from segmentation_models_pytorch import losses as smp

S = 2e-6
"""Twice our smoothing: theirs is added to 2 Σ p g, ours to Σ p g."""

PACKAGES = ("monai", "segmentation-models-pytorch", "torch")


def case(classes: int, seed: int, images: int) -> tuple[Any, Any]:
    """Labels (images, h, w) and probabilities with six digits, (images, h, w, classes)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((images, 9, 10), int)
    for image in range(images):
        for label in range(1, classes):
            top, left = rng.integers(0, 5, 2)
            labels[image, top : top + 4, left : left + 5] = label
        labels[image, 8, 9] = classes - 1
    logits = rng.standard_normal((*labels.shape, classes)) + 2 * np.eye(classes)[labels]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    p = np.round(p, 6)
    p[..., 0] += 1 - p.sum(-1)
    return labels, np.round(p, 6)


def main() -> None:
    """Writes the file."""
    made: dict[str, Any] = {"versions": {p: importlib.metadata.version(p) for p in PACKAGES}, "cases": {}, "values": []}
    for name, (classes, seed, images) in {"two": (2, 0, 1), "three": (3, 1, 2)}.items():
        labels, p = case(classes, seed, images)
        made["cases"][name] = {"labels": labels.tolist(), "probabilities": p.tolist()}
        truth = torch.tensor(np.moveaxis(np.eye(classes)[labels], -1, 1))
        guess = torch.tensor(np.moveaxis(p, -1, 1))
        index = torch.tensor(labels)

        def add(
            package: str, other: str, value: Any, ours: str, settings: dict[str, Any], note: str = "", at: str = name
        ) -> None:
            entry = {"case": at, "package": package, "loss": other, "value": float(value), "ours": ours}
            made["values"].append({**entry, "settings": settings, "convention": note})

        logits = torch.log(guess)
        add("monai", "DiceLoss", monai.DiceLoss(smooth_nr=S, smooth_dr=S)(guess, truth), "dice", {})
        add(
            "monai", "DiceLoss(squared_pred)", monai.DiceLoss(squared_pred=True, smooth_nr=1e-6, smooth_dr=1e-6)(guess, truth),
            "squared_dice", {},
        )  # fmt: skip
        add(
            "monai", "DiceLoss(batch)", monai.DiceLoss(batch=True, include_background=False, smooth_nr=S, smooth_dr=S)(guess, truth),
            "batch_dice", {},
        )  # fmt: skip
        add("monai", "DiceLoss(jaccard)", monai.DiceLoss(jaccard=True, smooth_nr=S, smooth_dr=S)(guess, truth), "iou", {},
            "J = 2 (…) of the same sums")  # fmt: skip
        add("monai", "TverskyLoss", monai.TverskyLoss(alpha=0.3, beta=0.7, smooth_nr=1e-6, smooth_dr=1e-6)(guess, truth),
            "tversky", {})  # fmt: skip
        add("monai", "GeneralizedDiceLoss", monai.GeneralizedDiceLoss(smooth_nr=1e-9, smooth_dr=1e-9)(guess, truth),
            "generalised_dice", {"smooth": 1e-12}, "weights are not scaled, so that its smoothing means another size")  # fmt: skip
        add("monai", "DiceCELoss", monai.DiceCELoss(softmax=True, include_background=True, smooth_nr=S, smooth_dr=S)(logits, truth),
            "dice_ce", {"background": "keep"}, "takes logits")  # fmt: skip
        parts = monai.DiceLoss(smooth_nr=S, smooth_dr=S)(guess, truth) + 0.5 * monai.FocalLoss(
            use_softmax=True, gamma=2.0
        )(logits, truth)
        add("monai", "DiceLoss + FocalLoss/2", parts, "dice_focal", {"alpha": 1.0 / classes},
            "mean over classes, see FocalLoss; DiceFocalLoss takes the sigmoid of each logit: compared with its parts")  # fmt: skip
        if classes == 2:
            focal = monai.unified_focal_loss.AsymmetricFocalLoss(delta=0.6, gamma=0.3)(guess, truth)
            tversky = monai.unified_focal_loss.AsymmetricFocalTverskyLoss(delta=0.6, gamma=0.3)(guess, truth)
            add("monai", "AsymmetricFocalLoss + AsymmetricFocalTverskyLoss/2", focal + tversky / 2, "unified_focal_asym",
                {"gamma": 0.3}, "two classes alone; its focal part is a mean over classes, so that AsymmetricUnifiedFocalLoss weighs it half: compared by parts")  # fmt: skip
        weights = [0.5, 2.0, 3.0][:classes]
        add("torch", "CrossEntropyLoss", torch.nn.CrossEntropyLoss()(logits, index), "ce", {}, "takes logits")
        add("torch", "CrossEntropyLoss(weight)",
            torch.nn.CrossEntropyLoss(weight=torch.tensor(weights, dtype=logits.dtype), reduction="none")(logits, index).mean(),
            "weighted_ce", {"weight": weights, "frequency": "none"},
            "takes logits; its mean is one over weights, ours one over pixels: compared pixel by pixel")  # fmt: skip
        add("torch", "CrossEntropyLoss(label_smoothing)", torch.nn.CrossEntropyLoss(label_smoothing=0.1)(logits, index),
            "label_smoothing_ce", {"epsilon": 0.1}, "takes logits")  # fmt: skip
        add("monai", "FocalLoss", monai.FocalLoss(use_softmax=True, gamma=2.0)(logits, truth),
            "focal", {"alpha": 1.0 / classes}, "mean over pixels and classes: a factor of 1/classes")  # fmt: skip
        add("monai", "HausdorffDTLoss", monai.HausdorffDTLoss(include_background=False)(guess, truth),
            "hausdorff", {"sides": "both"}, "no background")  # fmt: skip
        cldice = monai.SoftclDiceLoss(iter_=3, smooth_nr=1e-6, smooth_dr=1e-6, smooth=1e-12)
        each = [cldice(guess[:, c : c + 1], truth[:, c : c + 1]) for c in range(1, classes)]
        add("monai", "SoftclDiceLoss", sum(each) / len(each), "cldice_dice", {"alpha": 1.0},
            "no Dice part; sums over an image's classes too, so that they share one precision and one sensitivity; "
            "compared for one rare class at a time, with their mean")  # fmt: skip
        matrix = np.ones((classes, classes)) - np.eye(classes)
        settings: dict[str, Any] = {}
        if classes == 3:
            matrix[1, 2] = matrix[2, 1] = 0.5
            settings = {"distances": [1.0, 1.0, 0.5]}
        default = monai.GeneralizedWassersteinDiceLoss(matrix, smooth_nr=1e-6, smooth_dr=1e-6)
        add("monai", "GeneralizedWassersteinDiceLoss", default(logits.float(), index[:, None].float()),
            "generalised_wasserstein_dice", settings, "takes logits; weighting_mode is its default")  # fmt: skip
        add("segmentation-models-pytorch", "LovaszLoss(per_image)", smp.LovaszLoss("multiclass", per_image=True)(logits.float(), index),
            "lovasz_softmax", {}, "takes logits")  # fmt: skip
        if images == 1:
            add("segmentation-models-pytorch", "JaccardLoss", smp.JaccardLoss("multiclass", from_logits=False, smooth=1e-6)(guess, index),
                "iou", {}, "sums over the batch: compared for one image")  # fmt: skip
            add("segmentation-models-pytorch", "DiceLoss", smp.DiceLoss("multiclass", from_logits=False, smooth=S)(guess, index),
                "dice", {}, "sums over the batch: compared for one image")  # fmt: skip
            add("segmentation-models-pytorch", "TverskyLoss", smp.TverskyLoss("multiclass", from_logits=False, smooth=1e-6, alpha=0.3, beta=0.7)(guess, index),
                "tversky", {}, "sums over the batch: compared for one image")  # fmt: skip
    text = json.dumps(made, indent=None, separators=(",", ":"), ensure_ascii=False)
    Path(__file__).with_name("values.json").write_text(text.replace('{"case"', '\n{"case"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
