"""The convolutions and products of ResNet-50 (stride in the 3 x 3) and VGG-19, as layers in order.

Between layers there is no pooling: a layer reads the front of what the one before wrote, which is
as large or larger. Buffers are named by number, so that residuals read what a block began with; the
last one is the input, which no layer writes.
"""

from dataclasses import dataclass, replace

import driver


@dataclass(frozen=True)
class Layer:
    size: int          # of the input, square
    channels: int
    filters: int
    kernel: int
    stride: int = 1
    residual: bool = False
    relu: bool = True
    real: int = 0      # channels that are not padding
    source: int = 0
    target: int = 1
    added: int = 0
    pitch: int = 0     # between output pixels, where other filters lie beside these
    offset: int = 0    # of the first filter in an output pixel

    @property
    def out(self):
        return (self.size + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1

    @property
    def weights(self):
        return self.filters * self.kernel ** 2 * self.channels

    def flops(self, batch):
        depth = self.kernel ** 2 * (self.real or self.channels)
        return 2 * batch * self.out ** 2 * self.filters * depth

    def bytes(self, batch):
        outputs = self.out ** 2 * self.filters * (2 if self.residual else 1)
        return 2 * (batch * (self.size ** 2 * self.channels + outputs) + self.weights)

    def title(self):
        kind = f"{self.kernel}x{self.kernel}" + (f"/{self.stride}" if self.stride > 1 else "")
        ends = f"{self.size}² {self.channels}→{self.filters}"
        return f"{kind} {ends}" + ("+" if self.residual else "")

    def key(self):
        return replace(self, source=0, target=0, added=0, pitch=0, offset=0)


def resnet50():
    layers = [Layer(224, 8, 64, 7, 2, real=3, source=4, target=1)]
    size, channels, x = 56, 64, 1
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            a, b, shortcut = [i for i in range(4) if i != x]
            layers.append(Layer(size, channels, width, 1, source=x, target=a))
            layers.append(Layer(size, width, width, 3, stride, source=a, target=b))
            added = x
            if block == 0:
                layers.append(Layer(size, channels, width * 4, 1, stride, relu=False, source=x,
                                    target=shortcut))
                added = shortcut
            size, channels = size // stride, width * 4
            layers.append(Layer(size, width, channels, 1, residual=True, source=b, target=a,
                                added=added))
            x = a
    return layers + [Layer(1, 2048, 1000, 1, relu=False, source=x, target=(x + 1) % 4)]


def vgg19():
    layers, channels, size, x = [], 8, 224, 0
    for filters, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(count):
            first = channels == 8
            layers.append(Layer(size, channels, filters, 3, real=3 if first else 0,
                                source=2 if first else x, target=1 - x))
            channels, x = filters, 1 - x
        size //= 2
    for inputs, outputs in ((512 * 7 * 7, 4096), (4096, 4096), (4096, 1000)):
        layers.append(Layer(1, inputs, outputs, 1, relu=outputs != 1000, source=x, target=1 - x))
        x = 1 - x
    return layers


NETWORKS = {"resnet50": resnet50(), "vgg19": vgg19()}


def distinct(layers):
    """Layers of different shape, in order of their first use."""
    seen = {}
    for layer in layers:
        seen.setdefault(layer.key(), layer)
    return list(seen)


def shape(layer, batch):
    padding = layer.kernel // 2
    return driver.Shape(
        batch, layer.size, layer.size, layer.channels, layer.filters, layer.kernel, layer.kernel,
        layer.stride, padding, layer.out, layer.out, layer.pitch or layer.filters)


def split(layer, parts):
    """A product by its filters: parts that write side by side."""
    filters = layer.filters // parts
    return [replace(layer, filters=filters, pitch=layer.filters, offset=i * filters)
            for i in range(parts)]


def activations(layers, batch):
    """Values that the largest buffer has."""
    return max(batch * max(l.size ** 2 * l.channels, l.out ** 2 * (l.pitch or l.filters))
               for l in layers)
