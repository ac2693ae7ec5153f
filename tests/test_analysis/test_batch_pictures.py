import numpy as np
import pytest

from mms_plugin.analysis.batch_pictures import describe_batch, draw_batch
from mms_plugin.analysis.batch_views import BatchView, DrawnObject, ImageView

pytest.importorskip("matplotlib")
cv2 = pytest.importorskip("cv2")


def view(size, shape, count=3, shown=2, **objects):
    pixels = np.zeros((count, *shape, 3), np.uint8)
    images = [
        ImageView(pixels=image, caption=f"image {number}", **objects)
        for number, image in enumerate(pixels[:shown])
    ]
    return BatchView(size, shape, 0.25, pixels, images)


def test_the_line_says_what_the_network_gets():
    assert describe_batch(view((32, 32), (32, 32))) == (
        "32 × 32 px, 3 images (first 2), 25.0% of the pixels are padding"
    )
    assert describe_batch(view(None, (32, 64), shown=3)) == (
        "32 × 64 px (height × width), 3 images, 25.0% of the pixels are padding"
    )
    assert describe_batch(view((30, 40), (32, 64))).startswith(
        "drawn: 30 × 40 px, given to the network: 32 × 64 px, 3 images"
    )


def test_objects_are_drawn_over_the_images(tmp_path):
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    found = [DrawnObject(label="disc", box=(16.0, 16.0, 48.0, 48.0), mask=mask)]
    draw_batch(view((64, 64), (64, 64)), tmp_path / "plain.png")
    draw_batch(view((64, 64), (64, 64), objects=found), tmp_path / "objects.png")
    plain, drawn = (
        cv2.imread(str(tmp_path / name)) for name in ("plain.png", "objects.png")
    )
    assert plain.shape == drawn.shape
    assert drawn.sum(axis=-1).std() > 0 and (plain != drawn).mean() > 0.02


def test_a_batch_without_images(tmp_path):
    with pytest.raises(ValueError, match="at least one image"):
        draw_batch(view((8, 8), (8, 8), shown=0), tmp_path / "none.png")
