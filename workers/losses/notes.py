"""What a person wants to know of each built-in loss: equation, source, use and traps. Text alone.

p is the predicted probability, g the one-hot truth, over the pixels of one image and class; tp = Σ p g, fp is
Σ p (1 − g), fn is Σ (1 − p) g; s is the smoothing. An equation is one image's value; the batch's is the mean of its
images.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notes:
    """The texts of one loss."""

    equation: str
    reference: str
    use: str
    traps: tuple[str, ...] = ()


_ABSENT = 'A class without pixels has a loss near 1 even where the prediction is right; see absent = "skip".'
_HOST_MAP = "In a Keras model of one's own the map of the truth is computed within the step: slow, and not with XLA."
_GENERAL = "A start for any task, and what every other loss is compared with."

NOTES = {
    "ce": Notes(
        "mean over pixels of Σ_c −g log p",
        "Yeung et al. 2022, equation 2",
        _GENERAL,
        ("A small foreground hardly counts: most of the mean is background.",),
    ),
    "focal": Notes(
        "mean over pixels of Σ_c α (1 − p)^γ (−g log p)",
        "Lin et al. 2017",
        "Where most pixels are easy.",
        ("Its scale falls with γ: a learning rate that fits cross entropy is small for it.",),
    ),
    "dice": Notes(
        "mean over classes of 1 − (tp + s)/(tp + fn/2 + fp/2 + s)",
        "Milletari et al. 2016; Yeung et al. 2022, equations 8 and 9",
        "Where the foreground is small and the DSC is what is scored.",
        (_ABSENT, "Probabilities come out near 0 and 1, also where they are wrong."),
    ),
    "tversky": Notes(
        "mean over classes of 1 − (tp + s)/(tp + α fp + β fn + s)",
        "Salehi et al. 2017",
        "Where a missed pixel costs more than a false one, or less.",
        (_ABSENT,),
    ),
    "focal_tversky": Notes(
        "mean over classes of (1 − TI)^(1/γ), TI Tversky's index",
        "Abraham & Khan 2019",
        "Where small structures are nearly found.",
        (_ABSENT, "With γ > 1 the slope grows without bound towards a perfect class; a floor of 1e-7 bounds it."),
    ),
    "combo": Notes(
        "α · weighted cross entropy − (1 − α) · mean DSC; rare classes weigh β, the background 1 − β",
        "Taghanaki et al. 2019",
        "Cross entropy's smooth slope with Dice's balance.",
        ("It may be negative.", "The paper's released code had β on the background."),
    ),
    "hybrid_focal": Notes(
        "λ · focal + (1 − λ) · focal Tversky",
        "Yeung et al. 2021",
        "The parent of the unified losses, with all six parameters apart.",
        (_ABSENT,),
    ),
    "unified_focal_sym": Notes(
        "λ · mean over pixels of Σ_c w (1 − p)^γ (−g log p) + (1 − λ) · mean over classes of (1 − mTI)^(1 − γ)",
        "Yeung et al. 2022, section 2.8",
        "Class imbalance, with three parameters in place of six.",
        (_ABSENT, "The printed formulas differ from the released code; see `convention`."),
    ),
    "unified_focal_asym": Notes(
        "as `unified_focal_sym`; γ suppresses the background alone and enhances the rare classes alone",
        "Yeung et al. 2022, section 2.8",
        "Strong class imbalance; the paper's recommendation.",
        (_ABSENT, "The printed formulas differ from the released code; see `convention`."),
    ),
    "dice_focal": Notes(
        "Dice + λ · focal",
        "Zhu et al. 2019 (AnatomyNet)",
        "Many organs of very different size.",
        (_ABSENT, "The source sums over classes and takes α = 1; λ is a setting for each data set."),
    ),
    "asymmetric_similarity": Notes(
        "mean over classes of 1 − ((1 + β²) tp + s)/((1 + β²) tp + β² fn + fp + s)",
        "Hashemi et al. 2018",
        "Where recall counts more than precision.",
        (_ABSENT,),
    ),
    "generalised_dice": Notes(
        "1 − 2 Σ_c w tp/Σ_c w (2 tp + fp + fn), w = 1/(pixels of the class)²",
        "Sudre et al. 2017",
        "Several classes of very different size.",
        ("One small class may have nearly all the weight.",),
    ),
    "log_cosh_dice": Notes(
        "log cosh of Dice", "Jadon 2020", "A smoother Dice loss.", (_ABSENT, "Its slope vanishes towards a right mask.")
    ),
    "dice_topk": Notes(
        "Dice + cross entropy of the worst k percent of pixels",
        "Ma et al. 2021",
        "Among the best of Ma et al. on their four data sets.",
        (_ABSENT, "Wrong labels are among the worst pixels."),
    ),
    "boundary": Notes(
        "(1 − α) · generalised Dice + α · mean over pixels and rare classes of φ p, φ the signed distance",
        "Kervadec et al. 2019, 2021",
        "Where the distance of a contour counts.",
        ("α = 1 has a minimum at the empty prediction.", "It may be negative.", _HOST_MAP),
    ),
    "weighted_ce": Notes(
        "mean over pixels of Σ_c w_c (−g log p); inverse: w_c · pixels/(classes present · pixels of c)",
        "Ronneberger et al. 2015; Ma et al. 2021",
        "Class imbalance, with cross entropy's slope.",
        ("Shares are each image's own, not those of the data set.", "Inverse weights favour false positives."),
    ),
    "topk": Notes(
        "mean of −log p of the true class over the worst k percent of pixels",
        "Wu et al. 2016",
        "Where most pixels are easy.",
        ("Wrong labels are among the worst pixels.", "Ties for the last place share it."),
    ),
    "distance_penalised_ce": Notes(
        "mean over pixels of (1 + w Φ) Σ_c −g log p; Φ falls from 1 at a contour to 0 in the middle of a region",
        "Caliva et al. 2019",
        "Where contours are what goes wrong.",
        ("An image of one class has no contour: cross entropy is left.", _HOST_MAP),
    ),
    "label_smoothing_ce": Notes(
        "mean over pixels of Σ_c −((1 − ε) g + ε/classes) log p",
        "Szegedy et al. 2016",
        "Where labels are unsure, and probabilities are to be calibrated.",
        ("Its least value is not 0.",),
    ),
    "iou": Notes(
        "mean over classes of 1 − (tp + s)/(tp + fp + fn + s)",
        "Rahman & Wang 2016",
        "Where the IoU is what is scored.",
        (_ABSENT, "It orders masks as Dice does, with another slope."),
    ),
    "squared_dice": Notes(
        "mean over classes of 1 − (2 Σ p g + s)/(Σ p² + Σ g² + s)",
        "Milletari et al. 2016 (V-Net)",
        "Dice with a slope that vanishes at a perfect mask.",
        (_ABSENT,),
    ),
    "batch_dice": Notes(
        "Dice of tp, fp and fn that are summed over the batch",
        "Isensee et al. 2021 (nnU-Net)",
        "Patches in which a class is often absent.",
        ("The value of a batch is no mean of its images' values.", "nnU-Net's value is this one minus 1."),
    ),
    "sensitivity_specificity": Notes(
        "mean over classes of w Σ (g − p)² g/(Σ g + s) + (1 − w) Σ (g − p)² (1 − g)/(Σ (1 − g) + s)",
        "Brosch et al. 2015",
        "Very small lesions.",
        ("The paper takes w = 0.05, Ma et al. 0.1.",),
    ),
    "penalised_generalised_dice": Notes(
        "GD/(1 + k (1 − GD)), GD generalised Dice",
        "Yang et al. 2019; the form of Ma et al. 2021",
        "Vessels; images that are far off count most.",
        ("Its slope is small once an image is nearly right: 1/(1 + k) of generalised Dice's.",),
    ),
    "lovasz_softmax": Notes(
        "mean over classes of Σ_i e_i (J_i − J_(i−1)), e = |g − p|, the largest first, J the Jaccard loss",
        "Berman et al. 2018",
        "Where the IoU is what is scored; often for fine-tuning after cross entropy.",
        ("It sorts all pixels: it costs many times what cross entropy does.", "Absent classes are skipped by default."),
    ),
    "generalised_wasserstein_dice": Notes(
        "1 − 2 T/(2 T + E), E = Σ δ, T = Σ_(l ≠ 0) g_l (M_l0 − δ), δ = Σ_lm g_l M_lm p_m",
        "Fidon et al. 2017",
        "Classes that are nearer to some than to others, such as parts of a tumour.",
        (
            "The background must be the farthest from each class.",
            "A matrix is a list within the list of values: distances = [[1, 1, 0.5]], or rows.",
        ),
    ),
    "hausdorff": Notes(
        "mean over pixels and rare classes of (p − g)² (d_g^α + d_p^α), d the distance to a contour",
        "Karimi & Salcudean 2019",
        "Where the largest distance of a contour counts; beside Dice.",
        (
            "Its scale grows with the image: distances are in pixels.",
            "sides = \"both\" is the paper's; the prediction's distances take a pass per pixel of each axis.",
            "In an image without a class nothing holds back false pixels of it.",
            _HOST_MAP,
        ),
    ),
    "hausdorff_erosion": Notes(
        "mean over pixels and rare classes of Σ_k (k + 1)^α E_k, E_0 = (p − g)², E_k = E_(k−1) eroded",
        "Karimi & Salcudean 2019",
        "As `hausdorff`, without distance maps.",
        (
            "The paper's sum begins at the first erosion, where a thin error has no slope; ours adds the error itself.",
            "The factor 2 stands for the released code's division by each image's range.",
        ),
    ),
    "exponential_logarithmic": Notes(
        "w_D · mean over classes of (−log DSC)^γ + w_E · mean over pixels of Σ_c √(pixels/pixels of c) g (−log p)^γ",
        "Wong et al. 2018",
        "Very small structures among large ones.",
        (_ABSENT, "With γ < 1 slopes are steep near a perfect mask.", "Shares of classes are each image's own."),
    ),
    "dice_ce": Notes(
        "Dice of the rare classes + w · cross entropy",
        "Isensee et al. 2021 (nnU-Net)",
        "The usual start in 3D; nnU-Net's default.",
        (_ABSENT, "nnU-Net's value is this one minus 1.", "Over a batch it is the sum batch_dice+ce."),
    ),
    "dice_boundary": Notes(
        "(1 − α) · Dice + α · mean over pixels and rare classes of φ p",
        "Ma et al. 2021",
        "As `boundary`, beside the plain Dice loss.",
        (_ABSENT, "It may be negative.", _HOST_MAP),
    ),
    "dice_hausdorff": Notes(
        "Dice + w · hausdorff",
        "Ma et al. 2021",
        "Where the largest distance of a contour counts.",
        (
            _ABSENT,
            "Ma et al. choose w anew in each step, so that both parts are equal; here it is a setting.",
            _HOST_MAP,
        ),
    ),
    "cldice_dice": Notes(
        "(1 − α) · Dice + α · mean over rare classes of 1 − 2 T S/(T + S), T and S shares of soft skeletons",
        "Shit et al. 2021",
        "Vessels and other thin structures that must not break.",
        (_ABSENT, "Too few iterations leave thick structures without a skeleton."),
    ),
    "skeleton_recall": Notes(
        "Dice + cross entropy + w · mean over rare classes of Σ t (1 − p)/(Σ t + s), t the widened skeleton",
        "Kirchhoff et al. 2024",
        "Thin structures, at a fraction of clDice's cost.",
        (_ABSENT, "Skeletons of volumes take seconds of the loading processes.", _HOST_MAP),
    ),
}
