"""``python -m mms_plugin`` is the ``mms`` command."""

from .commands.mms import main

if __name__ == "__main__":
    main()
