"""Helpers that the commands share: configs, errors, output.

Bad input ends a command with one line on standard error and exit code 2. A
fault in a run that has begun keeps its traceback, and so does every fault where
the environment variable ``MMS_DEBUG`` is set.
"""

from .arguments import (
    ArgumentParser,
    add_amp_argument,
    add_common_arguments,
    add_config_arguments,
    add_options_argument,
    size_argument,
    whole_number,
)
from .command import run_command
from .config_changes import (
    add_dry_run,
    enable_amp,
    save_atomically,
    set_dataloader_defaults,
)
from .errors import RunError, UserError, one_line, setting_up
from .errors import debugging as debugging  # the tools call it as cli.debugging
from .host_noise import quiet_hosts
from .launching import is_main_process, leave_process_group, prepare_launcher
from .load_config import enter_scope, library_configs, load_config
from .method_warnings import warn_of_missing_parts
from .output import json_on_stdout, plain, write_json
from .paths import (
    check_checkpoint,
    check_out,
    make_folder,
    name_for_test,
    set_work_dir,
)
from .recipe_arguments import add_recipe_arguments, apply_recipe_arguments
from .resume_choice import check_ranks_resume_alike, choose_checkpoint_to_resume
from .runs import (
    build_runner,
    check_first_batch,
    end_workers,
    loading_checkpoint,
    raise_if_unreadable,
    run_started,
)

__all__ = [
    "ArgumentParser",
    "RunError",
    "UserError",
    "add_amp_argument",
    "add_common_arguments",
    "add_config_arguments",
    "add_dry_run",
    "add_options_argument",
    "add_recipe_arguments",
    "apply_recipe_arguments",
    "build_runner",
    "check_checkpoint",
    "check_first_batch",
    "check_out",
    "check_ranks_resume_alike",
    "choose_checkpoint_to_resume",
    "enable_amp",
    "end_workers",
    "enter_scope",
    "is_main_process",
    "json_on_stdout",
    "leave_process_group",
    "library_configs",
    "load_config",
    "loading_checkpoint",
    "make_folder",
    "name_for_test",
    "one_line",
    "plain",
    "prepare_launcher",
    "quiet_hosts",
    "raise_if_unreadable",
    "run_command",
    "run_started",
    "save_atomically",
    "set_dataloader_defaults",
    "set_work_dir",
    "setting_up",
    "size_argument",
    "warn_of_missing_parts",
    "whole_number",
    "write_json",
]
