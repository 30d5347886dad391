"""The published networks in torch, with torchvision's names and shapes, written for these tests alone."""

import collections
import math

import torch
from torch import nn


class Flattened(nn.Module):
    """torchvision's AlexNet and VGG: features, flattened channels first, classifier."""

    def __init__(self, features, classifier):
        super().__init__()
        self.features, self.classifier = nn.Sequential(*features), nn.Sequential(*classifier)

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


def alexnet():
    conv = lambda i, o, *args: (nn.Conv2d(i, o, *args), nn.ReLU())
    pool = nn.MaxPool2d(3, 2)
    features = (*conv(3, 64, 11, 4, 2), pool, *conv(64, 192, 5, 1, 2), pool)
    features += (*conv(192, 384, 3, 1, 1), *conv(384, 256, 3, 1, 1), *conv(256, 256, 3, 1, 1), pool)
    hidden = (nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU())
    return Flattened(features, (*hidden, nn.Linear(4096, 1000)))


def vgg19(batch_norm=False):
    features, channels = [], 3
    for width, layers in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(layers):
            norm = [nn.BatchNorm2d(width)] if batch_norm else []
            features += [nn.Conv2d(channels, width, 3, padding=1), *norm, nn.ReLU()]
            channels = width
        features.append(nn.MaxPool2d(2, 2))
    hidden = (nn.Linear(25088, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout())
    return Flattened(features, (*hidden, nn.Linear(4096, 1000)))


class SameConv(nn.Conv2d):
    """A convolution under TensorFlow's SAME padding."""

    def forward(self, x):
        pads = []
        for length, size in zip(x.shape[:1:-1], self.kernel_size):
            stride = self.stride[0]
            total = max((math.ceil(length / stride) - 1) * stride + size - length, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(nn.functional.pad(x, pads))


class Block(nn.Module):
    def __init__(self, size, stride, expansion, inputs, outputs):
        super().__init__()
        wide = inputs * expansion
        norm = lambda width: nn.BatchNorm2d(width, eps=1e-3)
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(inputs, wide, 1, bias=False), norm(wide)
        self._depthwise_conv = SameConv(wide, wide, size, stride, groups=wide, bias=False)
        self._bn1, self._bn2 = norm(wide), norm(outputs)
        self._project_conv = SameConv(wide, outputs, 1, bias=False)
        self.expands, self.skips = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, x):
        y = nn.functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = nn.functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


LITE0 = """1 3 1 1 32 16, 2 3 2 6 16 24, 2 5 2 6 24 40, 3 3 2 6 40 80,
           3 5 1 6 80 112, 4 5 2 6 112 192, 1 3 1 6 192 320"""
LITE2 = """1 3 1 1 32 16, 3 3 2 6 16 24, 3 5 2 6 24 48, 4 3 2 6 48 88,
           4 5 1 6 88 120, 5 5 2 6 120 208, 1 3 1 6 208 352"""


class EfficientNetLite(nn.Module):
    """`table` has a stage in each part: repeats, kernel size, stride, expansion, channels before and after."""

    def __init__(self, table):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, eps=1e-3)
        blocks = []
        for row in table.split(","):
            repeats, size, stride, expansion, inputs, outputs = map(int, row.split())
            blocks.append(Block(size, stride, expansion, inputs, outputs))
            blocks += [Block(size, 1, expansion, outputs, outputs) for _ in range(repeats - 1)]
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(outputs, 1280, 1, bias=False), nn.BatchNorm2d(1280, eps=1e-3)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x):
        x = nn.functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return self._fc(nn.functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3)))


NETWORKS = {
    "alexnet": alexnet,
    "efficientnet_lite0": lambda: EfficientNetLite(LITE0),
    "efficientnet_lite2": lambda: EfficientNetLite(LITE2),
    "vgg19": vgg19,
    "vgg19_bn": lambda: vgg19(batch_norm=True),
}


def random_network(name):
    """A network in evaluation mode with weights that keep activations near 1 and statistics that are not trivial."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.uniform_(0.5, 1.5)
                for tensor in (module.bias, module.running_mean):
                    tensor.normal_(0, 0.2)
            elif isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    module.bias.normal_(0, 0.1)
    return network


def save_plain(network, path, **options):
    """Writes the state as torchvision's files hold it."""
    torch.save(collections.OrderedDict(network.state_dict()), path, **options)
