"""What ``multi_scale.py`` trains, on the laboratory beside this folder."""
