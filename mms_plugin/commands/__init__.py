"""The commands that users run: ``mms``, and the scripts under ``tools/``.

One file a command, with ``main(argv)``. What several commands share lies in
:mod:`mms_plugin.cli`.
"""
