"""Built-in data: drawn scenes for classification and instance segmentation.

:func:`draw_scene` is a pure function of its generator: textured shapes of varying
apparent size on a cluttered background, partly hidden by each other and by
unlabelled occluders. One function serves both tasks: a classification image has one
large labeled object among small ones, a detection image several of all sizes.
:func:`write_scenes` writes a dataset once, as JPEG images and JSON annotations.

A class of the classification task is a shape *and* a texture, so that it takes both
the coarse outline and the fine pattern to tell it; a category of the detection task
is the shape.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

__all__ = [
    "CLASSES",
    "SHAPES",
    "TEXTURES",
    "Scene",
    "SceneObject",
    "SceneParameters",
    "classification_scene",
    "decode_rle",
    "detection_scene",
    "draw_scene",
    "encode_rle",
    "scene_generator",
    "write_scenes",
]

#: Raised whenever the same parameters would give other pixels or annotations.
VERSION = 2

SHAPES = ("disc", "square", "triangle", "star")
TEXTURES = ("checks", "dots", "stripes")
#: Classes of the classification task, sorted as mmpretrain sorts class folders.
CLASSES = tuple(
    sorted(f"{shape}_{texture}" for shape in SHAPES for texture in TEXTURES)
)

_SPLITS = {"train": 0, "val": 1}
_TASKS = {"classification": 0, "detection": 1}
_OVERSAMPLE = 8  # outlines are rasterised at 8 x 8 points a pixel
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class SceneObject:
    """One labeled object of a scene.

    Attributes:
        shape: One of :data:`SHAPES`.
        texture: One of :data:`TEXTURES`.
        outline: ``(N, 2)`` float polygon ``(x, y)`` in pixels, the whole object with
            its hidden parts; pixel ``(i, j)`` covers ``[j, j + 1) x [i, i + 1)``.
        mask: ``(height, width)`` bool, the visible part.
    """

    shape: str
    texture: str
    outline: np.ndarray
    mask: np.ndarray

    @property
    def class_name(self) -> str:
        """Its class in the classification task."""
        return f"{self.shape}_{self.texture}"

    @property
    def area(self) -> int:
        """Visible pixels."""
        return int(self.mask.sum())

    @property
    def bbox(self) -> Tuple[int, int, int, int]:
        """Box ``(x, y, width, height)`` round the visible part, in pixels."""
        rows = np.flatnonzero(self.mask.any(axis=1))
        cols = np.flatnonzero(self.mask.any(axis=0))
        return (
            int(cols[0]),
            int(rows[0]),
            int(cols[-1] - cols[0] + 1),
            int(rows[-1] - rows[0] + 1),
        )


@dataclass(frozen=True)
class Scene:
    """An image and what is to be seen in it.

    Attributes:
        image: ``(height, width, 3)`` uint8, BGR.
        objects: Labelled objects, the farthest first.
        occluders: Outlines of the unlabelled things in front of all objects.
    """

    image: np.ndarray
    objects: List[SceneObject]
    occluders: List[np.ndarray]


@dataclass(frozen=True)
class SceneParameters:
    """What a dataset of scenes is made of; written into its manifest.

    Args:
        seed: Seed of everything drawn. Default: 0.
        train_images: Classification images to train on. Default: 2400.
        val_images: Classification images to validate on. Default: 600.
        image_size: Side of a classification image in pixels. Default: 96.
        det_train_images: Detection images to train on. Default: 320.
        det_val_images: Detection images to validate on. Default: 80.
        det_image_size: Longer side of a detection image in pixels. Default: 160.
        jpeg_quality: 1 to 100. Default: 92.

    Raises:
        ValueError: A number out of its range.
    """

    seed: int = 0
    train_images: int = 2400
    val_images: int = 600
    image_size: int = 96
    det_train_images: int = 320
    det_val_images: int = 80
    det_image_size: int = 160
    jpeg_quality: int = 92

    def __post_init__(self) -> None:
        least = dict(
            seed=0,
            train_images=1,
            val_images=1,
            image_size=32,
            det_train_images=0,
            det_val_images=0,
            det_image_size=64,
            jpeg_quality=1,
        )
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ValueError(
                    f"{name}={value!r} must be an integer of at least {low}"
                )
        if self.jpeg_quality > 100:
            raise ValueError(f"jpeg_quality={self.jpeg_quality} must be 1 to 100")


def scene_generator(
    seed: int, task: str, split: str, index: int
) -> np.random.Generator:
    """Return the generator of one image, so that the order of images is free."""
    return np.random.Generator(
        np.random.PCG64(
            np.random.SeedSequence([seed, _TASKS[task], _SPLITS[split], index])
        )
    )


# --------------------------------------------------------------------------- drawing


def _unit_outline(shape: str, rng: np.random.Generator) -> np.ndarray:
    """Outline of ``shape`` within the unit circle, slightly out of proportion."""
    if shape == "disc":
        angles = np.arange(48) * (2 * np.pi / 48)
        radii = np.ones(48)
    elif shape == "square":
        angles = np.arange(4) * (np.pi / 2) + np.pi / 4
        radii = np.ones(4)
    elif shape == "triangle":
        angles = np.arange(3) * (2 * np.pi / 3)
        radii = np.ones(3)
    else:  # star
        angles = np.arange(10) * (np.pi / 5)
        radii = np.where(np.arange(10) % 2 == 0, 1.0, rng.uniform(0.42, 0.52))
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
    return points * np.array([1.0, rng.uniform(0.78, 1.0)])


def _place(
    points: np.ndarray, centre: np.ndarray, radius: float, angle: float
) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]]) * radius + centre


def _blob(rng: np.random.Generator, centre: np.ndarray, radius: float) -> np.ndarray:
    """Return an irregular outline like none of the shapes."""
    count = int(rng.integers(5, 9))
    angles = (np.arange(count) + rng.uniform(-0.35, 0.35, count)) * 2 * np.pi / count
    radii = radius * rng.uniform(0.45, 1.0, count)
    return centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)


def _bar(rng: np.random.Generator, centre: np.ndarray, length: float) -> np.ndarray:
    half = np.array([length / 2, length * rng.uniform(0.02, 0.05)])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    return _place(corners, centre, 1.0, rng.uniform(0, np.pi))


def _window(outline: np.ndarray, height: int, width: int) -> Tuple[slice, slice]:
    """Rows and columns of the image that ``outline`` may touch."""
    low = np.floor(outline.min(axis=0)).astype(int)
    high = np.ceil(outline.max(axis=0)).astype(int)
    left, top = np.clip(low, 0, [width, height])
    right, bottom = np.clip(high, 0, [width, height])
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _coverage(outline: np.ndarray, window: Tuple[slice, slice]) -> np.ndarray:
    """float32 of the window's shape: the share of each pixel inside ``outline``."""
    rows, cols = window
    height, width = rows.stop - rows.start, cols.stop - cols.start
    if height <= 0 or width <= 0:
        return np.zeros((max(height, 0), max(width, 0)), np.float32)
    grid = np.zeros((height * _OVERSAMPLE, width * _OVERSAMPLE), np.uint8)
    # OpenCV's integer coordinates are pixel centres; 8 fractional bits are kept.
    points = (outline - [cols.start, rows.start]) * _OVERSAMPLE - 0.5
    cv2.fillPoly(
        grid, [np.round(points * 256).astype(np.int32)], 255, cv2.LINE_8, shift=8
    )
    share = cv2.resize(grid, (width, height), interpolation=cv2.INTER_AREA)
    return share.reshape(height, width) / np.float32(255)


def _inside(outline: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return ``(height, width)`` bool: pixels at least half covered by ``outline``."""
    window = _window(outline, height, width)
    inside = np.zeros((height, width), bool)
    inside[window] = _coverage(outline, window) >= 0.5
    return inside


def _pattern(
    texture: str,
    rng: np.random.Generator,
    height: int,
    width: int,
    period: float,
) -> np.ndarray:
    """Return ``(height, width)`` float32 in [0, 1]: texture of two colors."""
    angle = rng.uniform(0, np.pi)
    phase_u, phase_v = rng.uniform(0, 2 * np.pi, 2)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    u = (np.cos(angle) * xs + np.sin(angle) * ys) * (2 * np.pi / period) + phase_u
    v = (np.cos(angle) * ys - np.sin(angle) * xs) * (2 * np.pi / period) + phase_v
    if texture == "stripes":
        wave = np.sin(u)
    elif texture == "checks":
        wave = np.sin(u * 0.75) * np.sin(v * 0.75) * 1.6
    else:  # dots on a square lattice
        wave = (np.cos(u) + np.cos(v) - 0.9) * 1.3
    return (0.5 + 0.5 * np.tanh(2.5 * wave)).astype(np.float32)


def _colors(rng: np.random.Generator, contrast: float) -> np.ndarray:
    """Two BGR colors whose mean levels are ``contrast`` apart; carry no label."""
    middle = rng.uniform(70, 185, 3)
    direction = rng.normal(size=3) * 0.6 + 1.0
    direction *= (contrast / 2) / max(abs(direction.mean()), 0.5)
    if rng.random() < 0.5:
        direction = -direction
    return np.stack([middle + direction, middle - direction]).astype(np.float32)


def _paint(
    canvas: np.ndarray,
    outline: np.ndarray,
    rng: np.random.Generator,
    texture: Optional[str],
    period: float,
    contrast: float,
) -> None:
    """Paint ``outline`` onto ``canvas``, in place."""
    window = _window(outline, *canvas.shape[:2])
    alpha = _coverage(outline, window)[..., None]
    first, second = _colors(rng, contrast)
    paint = first
    if texture is not None:
        height, width = alpha.shape[:2]
        level = _pattern(texture, rng, height, width, period)[..., None]
        paint = first * level + second * (1 - level)
    canvas[window] += (paint - canvas[window]) * alpha


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a patchy ground, grains of all sizes."""
    canvas = np.zeros((height, width, 3), np.float32)
    canvas += rng.uniform(80, 175, 3).astype(np.float32)
    for cells, strength in ((2, 22.0), (5, 12.0), (12, 7.0)):
        noise = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        canvas += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return canvas


def draw_scene(
    rng: np.random.Generator,
    height: int,
    width: int,
    kinds: Sequence[Tuple[str, str]],
    radii: Sequence[float],
    centres: Sequence[Optional[Tuple[float, float]]],
    clutter: int = 6,
    occluders: int = 2,
    min_visible: float = 0.45,
) -> Scene:
    """Draw one scene.

    Args:
        rng: The only source of chance.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        kinds: ``(shape, texture)`` of each object, the farthest first.
        radii: Radius of the circle round each object, in pixels.
        centres: ``(x, y)`` of each object in pixels; None: anywhere.
        clutter: Unlabelled textured blobs behind the objects. Default: 6.
        occluders: Unlabelled bars and blobs in front of them. Default: 2.
        min_visible: An object stays visible to at least this share of its pixels in
            the image; what would hide more is moved, in the end left out.
            Default: 0.45.

    Returns:
        The scene. An object that found no place in 20 attempts is left out of it; the
        first has nothing to hide, so with its centre well inside it always finds one.
    """
    canvas = _background(rng, height, width)
    side = min(height, width)

    def somewhere() -> np.ndarray:
        return rng.uniform(0.08, 0.92, 2) * [width, height]

    for _ in range(clutter):
        outline = _blob(rng, somewhere(), side * rng.uniform(0.08, 0.22))
        texture = str(rng.choice(TEXTURES)) if rng.random() < 0.3 else None
        _paint(
            canvas,
            outline,
            rng,
            texture,
            period=side * rng.uniform(0.05, 0.12),
            contrast=rng.uniform(25, 110),
        )

    wholes: List[int] = []
    masks: List[np.ndarray] = []
    outlines: List[np.ndarray] = []
    placed: List[Tuple[str, str]] = []

    def fits(inside: np.ndarray) -> bool:
        """Return whether every object stays visible enough behind ``inside``."""
        return all(
            (mask & ~inside).sum() >= max(min_visible * whole, 12)
            for mask, whole in zip(masks, wholes)
        )

    def place(propose: Callable[[], np.ndarray]) -> Optional[np.ndarray]:
        """Return an outline that leaves the objects behind it visible."""
        for _ in range(20):
            outline = propose()
            inside = _inside(outline, height, width)
            if inside.sum() >= 12 and fits(inside):
                return outline
        return None

    for (shape, texture), radius, centre in zip(kinds, radii, centres):
        points = _unit_outline(shape, rng)

        def propose(
            points: np.ndarray = points,
            radius: float = radius,
            centre: Optional[Tuple[float, float]] = centre,
        ) -> np.ndarray:
            at = somewhere() if centre is None else np.asarray(centre, float)
            # Not every way up: as cars and cups, shapes mostly stand.
            return _place(points, at, radius, rng.uniform(-0.5, 0.5) - np.pi / 2)

        found = place(propose)
        if found is None:
            continue
        _paint(
            canvas,
            found,
            rng,
            texture,
            period=max(radius * rng.uniform(0.3, 0.55), 3.0),
            contrast=rng.uniform(90, 190),
        )
        inside = _inside(found, height, width)
        masks = [mask & ~inside for mask in masks]
        masks.append(inside)
        wholes.append(int(inside.sum()))
        outlines.append(found)
        placed.append((shape, texture))

    hidden_by: List[np.ndarray] = []
    for _ in range(occluders):
        bar = rng.random() < 0.5

        def propose_occluder(bar: bool = bar) -> np.ndarray:
            if bar:
                return _bar(rng, somewhere(), side * rng.uniform(0.4, 1.2))
            return _blob(rng, somewhere(), side * rng.uniform(0.08, 0.2))

        found = place(propose_occluder)
        if found is None:
            continue
        _paint(canvas, found, rng, None, period=1.0, contrast=60)
        inside = _inside(found, height, width)
        masks = [mask & ~inside for mask in masks]
        hidden_by.append(found)

    # Light from one side, then the sensor's blur and noise.
    angle = rng.uniform(0, 2 * np.pi)
    ys, xs = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    slope = np.float32(rng.uniform(0, 0.3))
    light = 1 + slope * (
        np.float32(np.cos(angle)) * xs + np.float32(np.sin(angle)) * ys
    )
    canvas *= light[..., None]
    canvas += rng.normal(0, rng.uniform(2, 9), canvas.shape).astype(np.float32)
    image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    objects = [
        SceneObject(shape, texture, outline, mask)
        for (shape, texture), outline, mask in zip(placed, outlines, masks)
    ]
    return Scene(image, objects, hidden_by)


def classification_scene(seed: int, split: str, index: int, size: int = 96) -> Scene:
    """Classification image ``index``: ``objects[0]``, the largest, gives its class.

    Classes come round in turn (``index % 12``), so every split is balanced.

    Args:
        seed: Seed of the dataset.
        split: ``'train'`` or ``'val'``.
        index: Number of the image within its split.
        size: Side of the image in pixels. Default: 96.
    """
    rng = scene_generator(seed, "classification", split, index)
    shape, texture = CLASSES[index % len(CLASSES)].split("_")
    others = int(rng.integers(0, 4))
    kinds = [
        (str(rng.choice(SHAPES)), str(rng.choice(TEXTURES))) for _ in range(others)
    ]
    radii = [size * rng.uniform(0.06, 0.11) for _ in range(others)]
    centres: List[Optional[Tuple[float, float]]] = [None] * others
    radius = size * rng.uniform(0.24, 0.44)
    slack = size * 0.5 - radius * 0.75
    middle = size / 2 + rng.uniform(-1, 1, 2) * slack * 0.6
    return draw_scene(
        rng,
        size,
        size,
        [(shape, texture), *kinds],
        [radius, *radii],
        [(float(middle[0]), float(middle[1])), *centres],
        clutter=int(rng.integers(1, 7)),
        occluders=int(rng.integers(0, 3)),
    )


def detection_scene(seed: int, split: str, index: int, long_side: int = 160) -> Scene:
    """Draw detection image ``index``: 1 to 6 objects; landscape, portrait or square.

    Args:
        seed: Seed of the dataset.
        split: ``'train'`` or ``'val'``.
        index: Number of the image within its split.
        long_side: Longer side of the image in pixels. Default: 160.
    """
    rng = scene_generator(seed, "detection", split, index)
    short = int(round(long_side * rng.choice([0.67, 0.75, 1.0])))
    height, width = (short, long_side) if rng.random() < 0.6 else (long_side, short)
    count = int(rng.integers(1, 7))
    kinds = [(str(rng.choice(SHAPES)), str(rng.choice(TEXTURES))) for _ in range(count)]
    # Log-uniform: as many small objects as large ones; the large lie farther back.
    radii = sorted(
        (float(short * np.exp(rng.uniform(np.log(0.09), np.log(0.34)))) for _ in kinds),
        reverse=True,
    )
    return draw_scene(
        rng,
        height,
        width,
        kinds,
        radii,
        [None] * count,
        clutter=int(rng.integers(0, 6)),
        occluders=int(rng.integers(0, 3)),
    )


# --------------------------------------------------------------------------- writing


def encode_rle(mask: np.ndarray) -> Dict[str, List[int]]:
    """COCO's uncompressed run lengths of a ``(height, width)`` bool mask.

    Column by column, zeros first (pycocotools, ``maskApi.h``). Unlike a polygon it
    keeps holes and parts, which occlusion makes.
    """
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    if flat.size and flat[0]:
        runs = [0, *runs]
    return {"size": [int(n) for n in mask.shape], "counts": runs}


def decode_rle(rle: Dict[str, List[int]]) -> np.ndarray:
    """Return the mask that :func:`encode_rle` encoded."""
    counts = rle["counts"]
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(rle["size"], order="F")


def _write_jpeg(path: Path, image: np.ndarray, quality: int) -> None:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise OSError(f"OpenCV cannot encode JPEG: {path}")
    path.write_bytes(data.tobytes())


def _coco_annotations(scene: Scene, image_id: int, first_id: int) -> List[dict]:
    return [
        dict(
            id=first_id + number,
            image_id=image_id,
            category_id=SHAPES.index(item.shape) + 1,
            bbox=list(item.bbox),
            area=item.area,
            segmentation=encode_rle(item.mask),
            iscrowd=0,
            texture=item.texture,
        )
        for number, item in enumerate(scene.objects)
    ]


def _write_classification(root: Path, parameters: SceneParameters) -> None:
    counts = dict(train=parameters.train_images, val=parameters.val_images)
    for split, count in counts.items():
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
        for index in range(count):
            scene = classification_scene(
                parameters.seed, split, index, parameters.image_size
            )
            folder = root / split / scene.objects[0].class_name
            _write_jpeg(
                folder / f"{index:05d}.jpg", scene.image, parameters.jpeg_quality
            )


def _write_detection(root: Path, parameters: SceneParameters) -> None:
    (root / "annotations").mkdir(parents=True)
    counts = dict(train=parameters.det_train_images, val=parameters.det_val_images)
    for split, count in counts.items():
        (root / split).mkdir()
        images: List[dict] = []
        annotations: List[dict] = []
        for index in range(count):
            scene = detection_scene(
                parameters.seed, split, index, parameters.det_image_size
            )
            name = f"{index:05d}.jpg"
            _write_jpeg(root / split / name, scene.image, parameters.jpeg_quality)
            height, width = scene.image.shape[:2]
            images.append(
                dict(id=index + 1, file_name=name, height=height, width=width)
            )
            annotations += _coco_annotations(scene, index + 1, len(annotations) + 1)
        content = dict(
            info=dict(description="mms_plugin scenes", version=str(VERSION)),
            images=images,
            annotations=annotations,
            categories=[dict(id=n + 1, name=name) for n, name in enumerate(SHAPES)],
        )
        path = root / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content))


def _remove_leftovers(root: Path) -> None:
    """Remove what writers that were killed left beside ``root``."""
    for path in root.parent.glob(f".{root.name}.*-*"):
        pid = path.name.rsplit("-", 1)[-1]
        if pid.isdigit() and int(pid) != os.getpid():
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                shutil.rmtree(path, ignore_errors=True)
            except OSError:
                pass  # someone else's process: alive


def write_scenes(
    root: Union[str, os.PathLike[str]],
    parameters: Optional[SceneParameters] = None,
    log: Callable[[str], None] = lambda line: None,
) -> bool:
    """Write the dataset into the folder ``root``, unless it is there already.

    ``root/classification/{train,val}/<class>/*.jpg`` is what mmpretrain's
    ``CustomDataset`` reads; ``root/detection/{train,val}/*.jpg`` with
    ``root/detection/annotations/instances_{train,val}.json`` what mmdet's
    ``CocoDataset`` reads. ``root/manifest.json`` tells version and parameters.
    The folder is written under another name beside ``root`` and then renamed: there
    is never half a dataset.

    Args:
        root: The folder to be made.
        parameters: What to draw. Default: ``SceneParameters()``.
        log: Told in one line what is done. Default: nobody is told.

    Returns:
        Whether anything was written.

    Raises:
        ValueError: ``root`` exists and is not a folder of scenes.
    """
    parameters = SceneParameters() if parameters is None else parameters
    root = Path(root).absolute()
    manifest = dict(version=VERSION, parameters=asdict(parameters))
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        try:
            found = json.loads((root / _MANIFEST).read_text())
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict) or "parameters" not in found:
            raise ValueError(
                f"root={str(root)!r} exists and is no dataset of scenes (it has no "
                f"{_MANIFEST}); give another folder or remove it yourself"
            )
        if found == manifest:
            return False
        log(f"{root} was drawn with other parameters: drawing it again")
    root.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(root)
    partial = root.parent / f".{root.name}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write_classification(partial / "classification", parameters)
        _write_detection(partial / "detection", parameters)
        (partial / _MANIFEST).write_text(json.dumps(manifest, indent=2))
        if root.exists():
            old = root.parent / f".{root.name}.old-{os.getpid()}"
            os.rename(root, old)
            os.rename(partial, root)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(partial, root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True
