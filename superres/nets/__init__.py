"""Networks: the generator, its receptive field, and the feature network of the perceptual loss."""

from superres.nets.features import FeatureNet
from superres.nets.unet import Architecture, UNet, net_from_model_file

__all__ = ["Architecture", "FeatureNet", "UNet", "net_from_model_file"]
