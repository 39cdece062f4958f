"""What a researcher writes straight from the paper: plain PyTorch, eager, float32, no slideloop.

`bench.py` runs it beside slideloop, each in a process of its own; it prints JSON.

    python examples/benchmarks/plain.py index slide.tif --out features.npy
    python examples/benchmarks/plain.py round full.npy labels.npy --labels 100
    python examples/benchmarks/plain.py linear pooled.npy labels.npy --labels 250
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openslide
import torch
import torchvision
from numpy.typing import NDArray
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from torchvision.transforms.functional import normalize, resize, to_tensor

PATCH, INPUT, BATCH, EMBED_BATCH = 256, 224, 32, 256
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
EPOCHS, K = 50, 5


def load_network(weights: str) -> Any:
    """Build ResNet-18 with random, ImageNet or one's own weights."""
    torch.manual_seed(0)
    net = torchvision.models.resnet18(weights="IMAGENET1K_V1" if weights == "imagenet" else None)
    if weights not in ("random", "imagenet"):
        net.load_state_dict(torch.load(weights, weights_only=True), strict=False)
    return net


def backbone_of(net: Any) -> nn.Module:
    """Return the frozen part: up to layer4.0."""
    stem = [net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3]
    return nn.Sequential(*stem, net.layer4[0]).eval()


def head_of(net: Any) -> nn.Sequential:
    """Return the trained part: layer4.1 and pooling."""
    return nn.Sequential(net.layer4[1], nn.AdaptiveAvgPool2d(1), nn.Flatten())


def is_empty(patch: NDArray[np.uint8]) -> bool:
    """Say whether a patch is background and has no structure."""
    white = (patch > 210).all(axis=2)
    black = (patch < 5).all(axis=2)
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
    n_components, _ = cv2.connectedComponents((grey > 127).astype(np.uint8))
    return bool((white | black).mean() > 0.8 and n_components < 10)


@torch.no_grad()
def index(path: Path, net: Any, device: str, out: Path) -> dict[str, Any]:
    """Compute the features of all patches of a slide and save them as float16."""
    backbone = backbone_of(net).to(device)
    begun = time.perf_counter()
    slide = openslide.OpenSlide(str(path))
    width, height = slide.dimensions
    features: list[NDArray[np.float16]] = []
    batch: list[torch.Tensor] = []

    def embed() -> None:
        images = torch.stack(batch).to(device)
        features.append(backbone(images).cpu().numpy().astype(np.float16))
        batch.clear()

    for y in range(0, height - PATCH + 1, PATCH):
        for x in range(0, width - PATCH + 1, PATCH):
            patch = np.array(slide.read_region((x, y), 0, (PATCH, PATCH)).convert("RGB"))
            if is_empty(patch):
                continue
            image = resize(to_tensor(patch), [INPUT, INPUT], antialias=True)
            batch.append(normalize(image, MEAN, STD))
            if len(batch) == BATCH:
                embed()
    if batch:
        embed()
    found = np.concatenate(features)
    np.save(out, found)
    return {"index_s": time.perf_counter() - begun, "n_patches": len(found)}


def train(
    model: nn.Module, loss: Any, features: torch.Tensor, labels: torch.Tensor, epochs: int
) -> None:
    """Train all of a model by Adam."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels)).split(min(len(labels), 512)):
            value = loss(model(features[chosen]), labels[chosen])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
    model.eval()


@torch.no_grad()
def embed(model: nn.Module, features: NDArray[np.float16], device: str) -> NDArray[np.float32]:
    """Run a model over the features of all patches."""
    parts = []
    for start in range(0, len(features), EMBED_BATCH):
        part = torch.from_numpy(features[start : start + EMBED_BATCH].astype(np.float32))
        parts.append(model(part.to(device)).cpu().numpy())
    return np.concatenate(parts)


def cnfp(distance: NDArray[Any], is_positive: NDArray[Any], seen: NDArray[Any]) -> list[int]:
    """Choose the closest negatives and the farthest positives among unseen patches."""
    ranked = np.argsort(distance, kind="stable")
    ranked = ranked[~np.isin(ranked, seen)]
    negatives, positives = ranked[~is_positive[ranked]], ranked[is_positive[ranked]]
    return [*negatives[: K - K // 2].tolist(), *positives[::-1][: K // 2].tolist()]


def faithful_round(
    features: NDArray[np.float16],
    classes: NDArray[np.int64],
    seen: NDArray[np.int64],
    weights: str,
    device: str,
    epochs: int,
    *,
    is_scored: bool,
) -> dict[str, float]:
    """Train both heads on what was seen, embed all patches, and choose the next ones."""
    metric = head_of(load_network(weights)).to(device)
    head = head_of(load_network(weights)).to(device)
    classifier = nn.Sequential(head, nn.Linear(512, int(classes.max()) + 1)).to(device)
    miner, triplet = BatchHardMiner(), TripletMarginLoss(margin=0.2)

    def metric_loss(embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return triplet(embeddings, labels, miner(embeddings, labels))

    begun = time.perf_counter()
    given = torch.from_numpy(features[seen].astype(np.float32)).to(device)
    labels = torch.from_numpy(classes[seen]).to(device)
    train(metric, metric_loss, given, labels, epochs)
    train(classifier, nn.CrossEntropyLoss(), given, labels, epochs)
    if device == "cuda":
        torch.cuda.synchronize()
    trained = time.perf_counter()
    times = {"train_s": trained - begun}
    if is_scored:
        embeddings = embed(metric, features, device)
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        query = embeddings[seen[classes[seen] == 0]].mean(axis=0)
        query /= np.linalg.norm(query)
        is_positive = embed(classifier, features, device).argmax(axis=1) == 0
        cnfp(np.linalg.norm(embeddings - query, axis=1), is_positive, seen)
        times["score_s"] = time.perf_counter() - trained
    return times


def linear_round(
    pooled: NDArray[np.float16], classes: NDArray[np.int64], seen: NDArray[np.int64]
) -> float:
    """Fit a logistic regression on what was seen and choose the next patches; return seconds."""
    begun = time.perf_counter()
    features = StandardScaler().fit_transform(pooled.astype(np.float32))
    model = LogisticRegression(C=1 / len(seen), max_iter=1000).fit(features[seen], classes[seen])
    score = model.decision_function(features)
    # The query's class is 0, the other one counts as positive in scikit-learn.
    cnfp(score, score < 0, seen)
    return time.perf_counter() - begun


def main() -> None:
    """Run one part and print what it took."""
    parser = argparse.ArgumentParser(description="Plain PyTorch, to compare with.")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--device", default="cpu")
    parts = parser.add_subparsers(dest="part", required=True)
    of_index = parts.add_parser("index")
    of_index.add_argument("slide", type=Path)
    of_index.add_argument("--out", type=Path, required=True)
    for name in ("round", "linear"):
        of_round = parts.add_parser(name)
        of_round.add_argument("features", type=Path)
        of_round.add_argument("classes", type=Path)
        of_round.add_argument("--labels", type=int, required=True)
        of_round.add_argument("--epochs", type=int, default=EPOCHS)
        of_round.add_argument("--train-only", action="store_true")
        of_round.add_argument("--times", type=int, default=1)
    given = parser.parse_args()
    result: dict[str, Any]
    if given.part == "index":
        net = load_network(given.weights)
        result = index(given.slide, net, given.device, given.out)
    else:
        features = np.load(given.features, mmap_mode="r")
        classes = np.load(given.classes)
        seen = np.arange(given.labels)
        if given.part == "linear":
            result = {
                "round_s": [linear_round(features, classes, seen) for _ in range(given.times)]
            }
        else:
            result = faithful_round(
                features, classes, seen, given.weights, given.device, given.epochs,
                is_scored=not given.train_only,
            )  # fmt: skip
    print(json.dumps({**result, "n_threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
