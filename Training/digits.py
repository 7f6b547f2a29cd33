#!/usr/bin/env python3
"""Trains the bundled digit classifier and writes the model, sample requests and their pictures.

The data set is the one that scikit-learn carries as `load_digits`: 1,797 handwritten digits of
8 x 8 pixels with grey levels 0 to 16, from the UCI repository's "Optical Recognition of Handwritten
Digits" (E. Alpaydin, C. Kaynak, 1998, CC BY 4.0). A fifth is held out; the samples in Examples are
taken from that fifth, so the network has never seen them.

    pip install -r Training/requirements.txt
    python3 Training/digits.py
"""

import argparse
import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHANNELS, HIDDEN, CLASSES = (16, 32), 64, 10


def patches(x):
    """Every 3 x 3 neighbourhood of a padded (n, c, h, w) array, as (n, h, w, c * 9)."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n, h, w, c * 9)


def patches_gradient(gradient, shape):
    """Adds the gradients of neighbourhoods back onto the pixels they were taken from."""
    n, c, h, w = shape
    pieces = gradient.reshape(n, h, w, c, 3, 3)
    padded = np.zeros((n, c, h + 2, w + 2), np.float32)
    for row in range(3):
        for column in range(3):
            padded[:, :, row : row + h, column : column + w] += pieces[..., row, column].transpose(
                0, 3, 1, 2
            )
    return padded[:, :, 1:-1, 1:-1]


class Network:
    """Two 3 x 3 convolutions, a 2 x 2 maximum, two fully connected layers."""

    def __init__(self, random):
        def he(rows, columns):
            return random.normal(0, np.sqrt(2 / columns), (rows, columns)).astype(np.float32)

        first, second = CHANNELS
        self.weights = {
            "conv1.weight": he(first, 9),
            "conv1.bias": np.zeros(first, np.float32),
            "conv2.weight": he(second, first * 9),
            "conv2.bias": np.zeros(second, np.float32),
            "fc1.weight": he(HIDDEN, second * 16),
            "fc1.bias": np.zeros(HIDDEN, np.float32),
            "fc2.weight": he(CLASSES, HIDDEN),
            "fc2.bias": np.zeros(CLASSES, np.float32),
        }

    def forward(self, x, random=None):
        """Class scores, and what `backward` needs. With `random`, hidden units drop out."""
        w = self.weights
        p1 = patches(x)
        a1 = np.maximum(p1 @ w["conv1.weight"].T + w["conv1.bias"], 0).transpose(0, 3, 1, 2)
        p2 = patches(a1)
        a2 = np.maximum(p2 @ w["conv2.weight"].T + w["conv2.bias"], 0).transpose(0, 3, 1, 2)
        n, c, h, v = a2.shape
        blocks = a2.reshape(n, c, h // 2, 2, v // 2, 2)
        pooled = blocks.max(axis=(3, 5))
        flat = pooled.reshape(n, -1)
        hidden = np.maximum(flat @ w["fc1.weight"].T + w["fc1.bias"], 0)
        keep = 1.0 if random is None else (random.random(hidden.shape) < 0.7) / np.float32(0.7)
        kept = hidden * keep
        return kept @ w["fc2.weight"].T + w["fc2.bias"], (
            x, p1, a1, p2, a2, blocks, pooled, flat, hidden, keep, kept,
        )

    def backward(self, gradient, saved):
        x, p1, a1, p2, a2, blocks, pooled, flat, hidden, keep, kept = saved
        w, g = self.weights, {}
        g["fc2.weight"], g["fc2.bias"] = gradient.T @ kept, gradient.sum(0)
        d = (gradient @ w["fc2.weight"]) * keep * (hidden > 0)
        g["fc1.weight"], g["fc1.bias"] = d.T @ flat, d.sum(0)
        d = (d @ w["fc1.weight"]).reshape(pooled.shape)
        largest = blocks == pooled[:, :, :, None, :, None]
        d = (largest * d[:, :, :, None, :, None]).reshape(a2.shape) * (a2 > 0)
        d = d.transpose(0, 2, 3, 1)
        g["conv2.weight"] = np.einsum("nhwo,nhwi->oi", d, p2, optimize=True)
        g["conv2.bias"] = d.sum((0, 1, 2))
        d = patches_gradient(d @ w["conv2.weight"], a1.shape) * (a1 > 0)
        d = d.transpose(0, 2, 3, 1)
        g["conv1.weight"] = np.einsum("nhwo,nhwi->oi", d, p1, optimize=True)
        g["conv1.bias"] = d.sum((0, 1, 2))
        return g


def shifted(x, random):
    """Moves every picture by up to one pixel each way: the cheapest more data there is."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    result = np.empty_like(x)
    for index, (row, column) in enumerate(random.integers(0, 3, (len(x), 2))):
        result[index] = padded[index, :, row : row + 8, column : column + 8]
    return result


def train(images, labels, epochs, random):
    network = Network(random)
    mean = {k: np.zeros_like(v) for k, v in network.weights.items()}
    square = {k: np.zeros_like(v) for k, v in network.weights.items()}
    step = 0
    for epoch in range(epochs):
        rate = 2e-3 * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
        order = random.permutation(len(images))
        for start in range(0, len(order), 64):
            chosen = order[start : start + 64]
            x = shifted(images[chosen], random)
            scores, saved = network.forward(x, random)
            p = softmax(scores)
            p[np.arange(len(chosen)), labels[chosen]] -= 1
            gradients = network.backward((p / len(chosen)).astype(np.float32), saved)
            step += 1
            for name, gradient in gradients.items():
                mean[name] += 0.1 * (gradient - mean[name])
                square[name] += 0.001 * (gradient**2 - square[name])
                corrected = mean[name] / (1 - 0.9**step)
                spread = np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8
                weight = network.weights[name]
                weight -= (rate * (corrected / spread + 1e-2 * weight)).astype(np.float32)
    return network


def softmax(scores):
    shifted_scores = np.exp(scores - scores.max(1, keepdims=True))
    return shifted_scores / shifted_scores.sum(1, keepdims=True)


def export(network, path, accuracy):
    first, second = CHANNELS
    shapes = {"conv1.weight": (first, 1, 3, 3), "conv2.weight": (second, first, 3, 3)}
    weights = {k: v.reshape(shapes.get(k, v.shape)) for k, v in network.weights.items()}
    weights["scale"] = np.array(1 / 16, np.float32)
    node = helper.make_node
    nodes = [
        node("Mul", ["image", "scale"], ["scaled"], "scale"),
        node("Conv", ["scaled", "conv1.weight", "conv1.bias"], ["c1"], "conv1", pads=[1] * 4),
        node("Relu", ["c1"], ["r1"], "relu1"),
        node("Conv", ["r1", "conv2.weight", "conv2.bias"], ["c2"], "conv2", pads=[1] * 4),
        node("Relu", ["c2"], ["r2"], "relu2"),
        node("MaxPool", ["r2"], ["pooled"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["pooled"], ["flat"], "flatten"),
        node("Gemm", ["flat", "fc1.weight", "fc1.bias"], ["h"], "fc1", transB=1),
        node("Relu", ["h"], ["r3"], "relu3"),
        node("Gemm", ["r3", "fc2.weight", "fc2.bias"], ["scores"], "fc2", transB=1),
        node("ArgMax", ["scores"], ["digit"], "digit", axis=1, keepdims=0),
        node("Softmax", ["scores"], ["probabilities"], "probabilities", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [
            helper.make_tensor_value_info("digit", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES]),
        ],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
        doc_string=f"Handwritten digits, 8 x 8 grey levels 0-16. Held-out accuracy {accuracy:.4f}.",
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.producer_name = "stowage-training"
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def write_samples(folder, images, labels, per_digit):
    folder.mkdir(parents=True, exist_ok=True)
    for digit in range(CLASSES):
        for number, index in enumerate(np.flatnonzero(labels == digit)[:per_digit], start=1):
            values = images[index, 0].astype(int)
            request = {
                "inputs": [
                    {
                        "name": "image",
                        "shape": [1, 1, 8, 8],
                        "datatype": "FP32",
                        "data": values.ravel().tolist(),
                    }
                ]
            }
            name = folder / f"{digit}-{number}"
            name.with_suffix(".json").write_text(json.dumps(request) + "\n")
            grey = (255 - np.minimum(values * 16, 255)).astype(np.uint8)
            picture = Image.fromarray(np.kron(grey, np.ones((16, 16), np.uint8)))
            picture.save(name.with_suffix(".png"), optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--samples", type=int, default=3, help="sample requests per digit")
    arguments = parser.parse_args()

    data = load_digits()
    images = data.images.astype(np.float32)[:, None]
    train_x, test_x, train_y, test_y = train_test_split(
        images, data.target, test_size=0.2, random_state=arguments.seed, stratify=data.target
    )
    random = np.random.default_rng(arguments.seed)
    network = train(train_x / 16, train_y, arguments.epochs, random)
    guesses = network.forward(test_x / 16)[0].argmax(1)
    accuracy = float((guesses == test_y).mean())
    print(f"held-out accuracy {accuracy:.4f} on {len(test_y)} digits, seed {arguments.seed}")
    export(network, ROOT / "Models" / "digits.onnx", accuracy)
    write_samples(ROOT / "Examples" / "digits", test_x, test_y, arguments.samples)


if __name__ == "__main__":
    main()
