"""The general path: any module's clipped gradients by Opacus, tried before they are trusted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from clientagent.models import Network
from clientagent.privacy.dense import DenseGradients
from clientagent.wire.errors import PrivacyUnsound, TensorsMismatch
from clientagent.wire.privacy.stream import Stream
from clientagent.wire.tensors import Layout
from tests.agent.private import some_rows

pytest.importorskip("opacus", reason="the general path needs fedagent[dp]")

from clientagent.privacy.modules import ModuleGradients, self_test

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
KEY = bytes(32)


def losses(logits, labels):
    return nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def layout_for(module: nn.Module) -> Layout:
    return Layout({name: tuple(value.shape) for name, value in module.named_parameters()})


def gradients_for(module: nn.Module, loss=losses) -> ModuleGradients:
    return ModuleGradients(module, layout_for(module), loss)


class Leaky(nn.Module):
    """Takes the batch's mean away: each record sees the others, and no hook can know."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 1)

    def forward(self, rows):
        return (self.layer(rows) - rows.mean()).squeeze(-1)


class Normed(nn.Module):
    """Layers that are none of the catalogue's."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.last = nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, rows):
        return self.last(self.drop(torch.tanh(self.norm(self.inner(rows))))).squeeze(-1)


def test_it_sums_what_the_fast_path_sums():
    module = Network([5, 6, 1], 0.0)
    layout, inputs = layout_for(module), some_rows(700)
    weights = np.random.default_rng(1).normal(size=layout.parameters).astype(np.float32)
    labels = inputs.labels.astype(np.float32)
    general = gradients_for(module)(weights, inputs.matrix, labels, clip=0.5, stream=Stream(KEY))
    fast = DenseGradients(layout, [1.0, 1.0])(weights, inputs.matrix, labels, clip=0.5, stream=Stream(KEY))
    assert np.allclose(general.total, fast.total, atol=1e-3)
    assert general.clipped == fast.clipped
    nobody = gradients_for(Network([5, 6, 1], 0.0))(weights, inputs.matrix[:0], labels[:0], clip=0.5, stream=Stream(KEY))
    assert not nobody.total.any()


def test_layers_that_are_no_part_of_the_catalogue_pass_the_self_test():
    self_test(gradients_for(Normed()), inputs=5)


def test_a_module_whose_records_see_each_other_fails_it():
    with pytest.raises(PrivacyUnsound, match="single records"):
        self_test(gradients_for(Leaky()), inputs=5)


def test_batch_normalisation_is_refused():
    with pytest.raises(PrivacyUnsound, match="by itself"):
        gradients_for(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))


def test_a_loss_in_two_dimensions_is_refused():
    with pytest.raises(PrivacyUnsound, match="one loss a record"):
        self_test(gradients_for(Network([5, 1], 0.0), lambda logits, labels: losses(logits, labels)[:, None]), inputs=5)


def test_a_module_of_another_layout_is_refused():
    with pytest.raises(TensorsMismatch):
        ModuleGradients(Network([5, 1], 0.0), Layout({"layers.0.weight": (1, 5)}), losses)
