"""Try a recipe on all configs of a library's folders, without training any.

    python tools/misc/try_recipes.py mmdet::mask_rcnn mmpretrain::resnet

Prints how many it converts and how many it refuses, and why. ``mmdet::.`` is all that
the library has. ``--record FILE`` writes each result to a file at once; called again,
configs in the file are not tried again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os.path as osp
import sys
import traceback
import warnings
from collections import Counter
from typing import Any, Dict, List, Optional

# The checkout that this file lies in, installed or not.
sys.path.insert(0, osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__)))))

from mms_plugin import cli
from mms_plugin.recipes import RECIPES, RecipeError, apply_recipes
from mms_plugin.utils.tables import markdown_table
from tools.smoke import smoke_arguments

CONVERTED, REFUSED, UNREADABLE, FAILED = "converted", "refused", "unreadable", "failed"
OUTCOMES = (CONVERTED, REFUSED, UNREADABLE, FAILED)


def config_files(folder: str) -> Dict[str, str]:
    """Return the configs in a folder of a library, such as ``mmdet::mask_rcnn``.

    Returns:
        Their files by the names that ``tools/train.py`` takes.

    Raises:
        UserError: There is no such library or folder.
    """
    library, _, path = folder.partition("::")
    found = importlib.util.find_spec(library) if library.isidentifier() else None
    if found is None or not found.submodule_search_locations or not path:
        raise cli.UserError(
            f"{folder}: write library::folder, of a library that is installed, such "
            "as mmdet::mask_rcnn"
        )
    # What others inherit is no config by itself.
    files = {
        f"{library}::{path}": file
        for path, file in cli.library_configs(library, path).items()
        if not path.startswith("_base_/")
    }
    if not files:
        raise cli.UserError(f"{folder}: {library} has no configs there")
    return files


class Record:
    """A file with one line of JSON for each config and recipe that was tried.

    Args:
        file: The file, read if it exists and appended to. None keeps nothing.
    """

    def __init__(self, file: Optional[str]) -> None:
        self._file = file
        self._known: Dict[Any, Dict[str, Any]] = {}
        if file is not None and osp.exists(file):
            with open(file, encoding="utf-8") as lines:
                for line in lines:
                    result = json.loads(line)
                    recipe = result.pop("recipe")
                    self._known[result["config"], recipe] = result

    def tried(self, name: str, file: str, recipe: str) -> Dict[str, Any]:
        """Return the recorded result of a config, or try the config and record it."""
        if (name, recipe) not in self._known:
            result = try_config(name, file, recipe)
            self._known[name, recipe] = result
            if self._file is not None:
                with open(self._file, "a", encoding="utf-8") as lines:
                    lines.write(json.dumps({**result, "recipe": recipe}) + "\n")
        return self._known[name, recipe]


def try_config(name: str, file: str, recipe: str) -> Dict[str, Any]:
    """Return what a recipe makes of one config."""
    try:
        config = cli.load_config(file)
    except cli.UserError as error:
        return dict(config=name, outcome=UNREADABLE, reason=str(error))
    try:
        apply_recipes(config, recipe)
    except RecipeError as error:
        return dict(
            config=name, outcome=REFUSED, place=error.place, reason=error.reason
        )
    except ValueError as error:
        return dict(config=name, outcome=REFUSED, reason=str(error))
    except Exception:
        return dict(config=name, outcome=FAILED, reason=traceback.format_exc())
    return dict(config=name, outcome=CONVERTED)


def table(tried: Dict[str, List[Dict[str, Any]]]) -> str:
    """Return counts by folder, then the reasons with their counts."""
    rows = [["folder", "configs", *OUTCOMES]]
    for folder, results in tried.items():
        counts = Counter(result["outcome"] for result in results)
        shown = [str(counts[outcome]) for outcome in OUTCOMES]
        rows.append([f"`{folder}`", str(len(results)), *shown])
    reasons = Counter(
        result["reason"]
        for results in tried.values()
        for result in results
        if result["outcome"] != CONVERTED
    )
    counted = [f"{n:>4}  {reason}" for reason, n in reasons.most_common()]
    return "\n".join([markdown_table(rows), "", *counted])


def main(argv: List[str]) -> None:
    """Run the command."""
    parser = cli.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", metavar="LIBRARY::FOLDER")
    parser.add_argument("--recipe", default="vbs-cur", metavar="R")
    parser.add_argument(
        "--record", metavar="FILE", help="keep the results, one line of JSON each"
    )
    parser.add_argument("--list", action="store_true", help="list each config, too")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    args = parser.parse_args(
        smoke_arguments(parser, argv, lambda _: ["mmpretrain::lenet"])
    )
    for name in args.recipe.split("+"):
        if name not in RECIPES:
            parser.error(f"--recipe: {name!r} is not one of {', '.join(RECIPES)}")
    warnings.simplefilter("ignore")  # the libraries' own, on old keys
    with cli.json_on_stdout(args.json) as emit:
        files = {folder: config_files(folder) for folder in args.folders}
        record = Record(args.record)
        tried = {
            folder: [record.tried(*item, args.recipe) for item in files[folder].items()]
            for folder in files
        }
        emit(tried)
    if not args.json:
        print(table(tried))
        if args.list:
            for results in tried.values():
                for result in results:
                    place = result.get("place", result.get("reason", ""))
                    print(f"{result['outcome']:<10} {result['config']}  {place}")
    failed = sum(r["outcome"] == FAILED for rs in tried.values() for r in rs)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    cli.run_command(main)
