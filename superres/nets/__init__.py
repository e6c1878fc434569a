"""Networks: the generator, its receptive field, and the feature network of the perceptual loss."""

from superres.nets.architecture import Architecture
from superres.nets.device import choose_device, place
from superres.nets.features import FeatureNet
from superres.nets.unet import UNet, net_from_model_file

__all__ = ["Architecture", "FeatureNet", "UNet", "choose_device", "net_from_model_file", "place"]
