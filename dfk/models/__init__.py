"""Keras functional models, built as `keras.applications` builds its own, and the SVM baselines."""

from __future__ import annotations

from dfk.models.classifier import (
    class_names_of,
    crops_of,
    image_classifier,
    logits_of,
    network_of,
    rename_classes,
    set_temperature,
    set_thresholds,
    set_trained_on,
    with_test_crop,
)
from dfk.models.deepfakenet import DeepFakeNet
from dfk.models.ensemble import (
    KERAS_ONLY,
    Ensemble,
    combined,
    common_class_names,
    cross_fit_ensemble,
    evidence_of,
    fit_ensemble,
    load_member,
    member_shares,
    member_weights_of,
    members_of,
    split_evidence,
    statistics_of,
    with_members,
)
from dfk.models.following import follow
from dfk.models.freezing import set_trainable_from
from dfk.models.kinds import BUILDERS, KINDS, Phase, build, fine_tuning, start_of
from dfk.models.limits import (
    image_sizes,
    input_size,
    memory,
    smallest_image,
    smallest_input,
    training_bytes_per_pixel,
)
from dfk.models.looking import features_of, with_features
from dfk.models.residual import ResidualNet
from dfk.models.rich import RichNet
from dfk.models.svm import PENALTY, SVM
from dfk.models.vgg import (
    VGG16,
    WeightsError,
    check_trainable_from,
    check_weights,
    has_batch_norm,
)

__all__ = [
    "BUILDERS",
    "KERAS_ONLY",
    "KINDS",
    "PENALTY",
    "SVM",
    "VGG16",
    "DeepFakeNet",
    "Ensemble",
    "Phase",
    "ResidualNet",
    "RichNet",
    "WeightsError",
    "build",
    "check_trainable_from",
    "check_weights",
    "class_names_of",
    "combined",
    "common_class_names",
    "crops_of",
    "cross_fit_ensemble",
    "evidence_of",
    "features_of",
    "fine_tuning",
    "fit_ensemble",
    "follow",
    "has_batch_norm",
    "image_classifier",
    "image_sizes",
    "input_size",
    "load_member",
    "logits_of",
    "member_shares",
    "member_weights_of",
    "members_of",
    "memory",
    "network_of",
    "rename_classes",
    "set_temperature",
    "set_thresholds",
    "set_trainable_from",
    "set_trained_on",
    "smallest_image",
    "smallest_input",
    "split_evidence",
    "start_of",
    "statistics_of",
    "training_bytes_per_pixel",
    "with_features",
    "with_members",
    "with_test_crop",
]
