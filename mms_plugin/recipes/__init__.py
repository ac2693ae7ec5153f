"""Convert existing configs to use the plugin. A recipe maps a config to a config."""

from .agvm import agvm_recipe
from .apply import RECIPES, apply_recipes, option_names
from .config_edits import RecipeError
from .default_sizes import default_sizes
from .vbs import vbs_recipe

__all__ = [
    "RECIPES",
    "RecipeError",
    "agvm_recipe",
    "apply_recipes",
    "default_sizes",
    "option_names",
    "vbs_recipe",
]
