"""Image encoders that may have weights of their own, from a file or from training, and are saved with them."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from cmr_hub.errors import CheckpointError
from cmr_hub.utils.checkpoint_files import check_finite, open_tensors

from .backbone import BackboneEncoder
from .base import checkpoint_file

WEIGHTS_FILE = "image_encoder.safetensors"
OWN = "file"  # what a description says of own weights


class OwnWeightsEncoder(BackboneEncoder):
    """An image encoder whose network may have other weights than its name stands for.

    They are read from a file, or they are what training made of the network (see [`keep_weights`]). Own weights are
    saved with a checkpoint and are part of the fingerprint.

    Attributes:
        weights_file: what the network's weights are read from when it is built; None where no file was given.
        has_own_weights: whether the network's weights are the encoder's own.
    """

    weights_file: Path | None = None
    has_own_weights: bool = False

    def _use_weights_file(self, path: Path) -> None:
        """Build the network with the weights of this file."""
        self.weights_file, self.has_own_weights = path, True

    def keep_weights(self) -> None:
        """Take the network's weights, which were trained meanwhile, for the encoder's own from now on.

        Example:
        ```python
        >>> from cmr_hub.encoders import create_encoder
        >>> encoder = create_encoder("image", "efficientnet-lite0")
        >>> encoder.keep_weights()
        >>> encoder.to_dict()
        {'name': 'efficientnet-lite0', 'modality': 'image', 'weights': 'file'}
        ```
        """
        self.has_own_weights = True
        self._forget_conversion()

    def save_files(self, folder: Path) -> None:
        if self.has_own_weights:
            safetensors.torch.save_file(self._state(), Path(folder) / WEIGHTS_FILE)

    def _fitted_parts(self) -> Iterable[bytes | memoryview]:
        if self.has_own_weights:
            yield safetensors.torch.save(self._state())

    def _state(self) -> dict[str, torch.Tensor]:
        return {name: value.cpu().contiguous() for name, value in self.network.state_dict().items()}

    def _read_own_weights(self, network: nn.Module, unused: Iterable[str] = ()) -> None:
        """Load the file's weights into a network; the names in `unused` may be among them.

        Raises:
            CheckpointError: they are another network's, or the file is no file of weights.
        """
        assert self.weights_file is not None
        weights = {name: value for name, value in read_weights(self.weights_file).items() if name not in set(unused)}
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            model = self.name.split("/")[-1]
            raise CheckpointError(f"The weights in {self.weights_file} are not those of {model}: {error}") from error

    @staticmethod
    def _described_weights(
        config: dict[str, Any], folder: Path | None, published: Collection[str] = ()
    ) -> Path | str | None:
        """What `to_dict` said of the weights; own ones as the path that `save_files` wrote.

        Args:
            config: what `to_dict` gave.
            folder: of the checkpoint.
            published: names of weights that are no files.

        Raises:
            CheckpointError: `folder` does not have that file, or the weights are neither own nor published.
        """
        weights = config.get("weights")
        if weights == OWN:
            return checkpoint_file(folder, WEIGHTS_FILE, config["name"])
        if weights is not None and weights not in published:
            raise CheckpointError(
                f"The encoder {config['name']!r} has no weights {weights!r:.200}. A checkpoint names published "
                f"weights ({', '.join(published) or 'none here'}), or brings its own as {WEIGHTS_FILE}: files "
                "elsewhere are not read."
            )
        return weights


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict of tensors alone; a file with anything else in it is refused.

    Raises:
        CheckpointError: the file has code, or anything but named tensors, in it, or is no such file.
    """
    if path.suffix == ".safetensors":
        return read_torch_tensors(path)
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is not a file of weights alone ({error}). Save it as safetensors.") from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise CheckpointError(
            f"{path} holds other things than a network's weights by name. Save its state dict alone."
        )
    check_finite(weights, path)
    return weights


def read_torch_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, all of finite numbers; the file may lie behind links.

    Raises:
        CheckpointError: it is missing, no regular file or no safetensors file, or holds NaN or infinity.
    """
    path = path.resolve()
    with open_tensors(path):  # what is wrong with the file itself is said here
        weights = safetensors.torch.load_file(path)
    check_finite(weights, path)
    return weights
