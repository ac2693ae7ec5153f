"""A few drawn images with all annotations that the libraries' configs may want."""

import json

import numpy as np

CLASSES = ("dark", "bright")
COUNT = 6


def write_images(root):
    """Write images of rectangles, with boxes, masks, segment maps and classes.

    Returns:
        The folder: ``images/`` and ``instances.json``, ``segments/`` (labels from 1),
        ``things_and_stuff/`` (labels from 0, the ground last), ``classes/<class>/``.
    """
    import cv2

    rng = np.random.default_rng(0)
    for name in (
        "images",
        "segments",
        "things_and_stuff",
        *(f"classes/{c}" for c in CLASSES),
    ):
        (root / name).mkdir(parents=True)
    images, annotations = [], []
    for number in range(COUNT):
        height, width = (96, 128) if number % 3 else (128, 96)
        image = rng.integers(90, 130, (height, width, 3), dtype=np.uint8)
        labels = np.ones((height, width), np.uint8)
        whole = np.full((height, width), 2, np.uint8)  # the ground
        for instance in range(2):
            kind = (number + instance) % 2
            side = 36
            x, y = 6 + 46 * instance, int(rng.integers(8, height - side - 8))
            image[y : y + side, x : x + side] = 230 if kind else 20
            labels[y : y + side, x : x + side] = kind + 1
            whole[y : y + side, x : x + side] = kind
            box = [x, y, side, side]
            corners = [x, y, x + side, y, x + side, y + side, x, y + side]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=kind + 1,
                    bbox=box,
                    area=side * side,
                    iscrowd=0,
                    segmentation=[corners],
                )
            )
        file = f"{number}.png"
        images.append(
            dict(
                id=number,
                file_name=file,
                height=height,
                width=width,
                video_id=number % 3,  # two frames each
            )
        )
        cv2.imwrite(str(root / "images" / file), image)
        cv2.imwrite(str(root / "segments" / file), labels)
        cv2.imwrite(str(root / "things_and_stuff" / file), whole)
        cv2.imwrite(str(root / "classes" / CLASSES[number % 2] / file), image)
    things = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
    (root / "instances.json").write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=things))
    )
    return root
