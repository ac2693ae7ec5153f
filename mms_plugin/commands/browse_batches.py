"""Draw real batches of a config's training, as the network gets them, at each size.

One sheet for the first full batch of each size: augmented, padded, with labels, boxes
and masks; and one with all sizes to scale. A config without
MultiScaleVariableBatchSampler gives one sheet.
"""

from __future__ import annotations

import argparse
import os.path as osp
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from mmengine.config import Config
from mmengine.runner import set_random_seed

from .. import cli
from ..analysis import build_model
from ..analysis.batch_pictures import describe_batch, draw_batch
from ..analysis.batch_views import BatchView, batch_view, first_batches
from ..analysis.pictures import draw_contact_sheet
from ..multi_scale.sizes import Size, size_text


def parse_args(argv: List[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    cli.add_config_arguments(parser)
    cli.add_recipe_arguments(parser)
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=cli.size_argument,
        metavar="SIZE",
        help="sides in pixels or HEIGHTxWIDTH (default: all of the config's sampler)",
    )
    parser.add_argument(
        "--max-images",
        type=cli.whole_number(1),
        default=12,
        metavar="N",
        help="maximum number of images on a sheet (default: 12)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        help="seed of the batches (default: the config's, else 0)",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="folder for the sheets (default: work_dirs/<config name>/batches)",
    )
    parser.add_argument("--json", action="store_true", help="print only JSON")
    return parser.parse_args(argv)


def prepare(args: argparse.Namespace) -> Tuple[Config, int]:
    """Load the config, and find the seed."""
    config = cli.load_config(args.config, args.cfg_options)
    config = cli.apply_recipe_arguments(config, args)
    cli.set_dataloader_defaults(config)
    if not config.get("train_dataloader"):
        raise cli.UserError(f"config {args.config} has no train_dataloader")
    if not config.get("model"):
        raise cli.UserError(f"config {args.config} has no model")
    seed = args.seed
    if seed is None:
        seed = (config.get("randomness") or {}).get("seed") or 0
    if not 0 <= seed < 2**32:
        raise cli.UserError(f"--seed must lie between 0 and 2^32 - 1, not {seed}")
    return config, seed


def chosen_batches(
    batches: Dict[Optional[Size], List[int]], sizes: Optional[List[Size]]
) -> Dict[Optional[Size], List[int]]:
    """Return the batches of the chosen sizes."""
    if sizes is None:
        return batches
    there = [size for size in batches if size is not None]
    if not there:
        raise cli.UserError(
            "--sizes: the config has no MultiScaleVariableBatchSampler, so it has only "
            "one size"
        )
    for size in sizes:
        if size not in there:
            raise cli.UserError(
                f"--sizes {size_text(size)} is not a size of the sampler, which has "
                + ", ".join(map(size_text, there))
            )
    return {size: batches[size] for size in there if size in sizes}


def load_views(config: Config, args: argparse.Namespace, seed: int) -> List[BatchView]:
    """Load the first full batches as the network gets them."""
    cli.enter_scope(config)
    with cli.setting_up("the training data gives no batches"):
        loader, batches = first_batches(config.train_dataloader, seed)
    batches = chosen_batches(batches, args.sizes)
    with cli.setting_up("the model cannot be built"):
        # Some models change what their preprocessor does.
        preprocessor = build_model(config).data_preprocessor
    views = []
    for size, indices in batches.items():
        # Each sheet is the same whatever the others are.
        set_random_seed(seed)
        with cli.setting_up("the training data gives no batches"):
            views.append(
                batch_view(loader, indices, preprocessor, size, args.max_images)
            )
    return views


def draw(views: List[BatchView], folder: Path, name: str) -> Tuple[List[str], Any]:
    """Write the sheets; their paths, and that of the one with all sizes."""
    paths = []
    for view in views:
        stem = f"batch_{size_text(view.size)}" if view.size else "batch"
        paths.append(str(folder / f"{stem}.png"))
        draw_batch(view, paths[-1])
    overview = None
    if len(views) > 1:
        overview = str(folder / "batches.png")
        draw_contact_sheet(
            [view.pixels for view in views],
            overview,
            f"{name}: the sizes to scale",
        )
    return paths, overview


def main(argv: List[str]) -> None:
    """Run the command."""
    args = parse_args(argv)
    with cli.json_on_stdout(args.json) as emit:
        config, seed = prepare(args)
        views = load_views(config, args, seed)
        name = osp.splitext(osp.basename(args.config))[0]
        folder = Path(args.out or osp.join("work_dirs", name, "batches"))
        cli.make_folder(str(folder), "--out")
        try:
            paths, overview = draw(views, folder, name)
        except (ImportError, OSError) as error:
            raise cli.UserError(cli.one_line(error)) from error
        emit(
            dict(
                config=args.config,
                seed=seed,
                batches=[
                    dict(
                        height=(view.size or view.shape)[0],
                        width=(view.size or view.shape)[1],
                        batch_size=view.batch_size,
                        shape=list(view.shape),
                        padding=view.padding,
                        images_drawn=len(view.images),
                        shown=view.shown,
                        lost=None if view.lost is None else view.lost._asdict(),
                        picture=path,
                    )
                    for view, path in zip(views, paths)
                ],
                overview=overview,
            )
        )
    if not args.json:
        for view, path in zip(views, paths):
            print(f"{describe_batch(view)}\n  {path}")
        if overview:
            print(f"all sizes to scale\n  {overview}")
