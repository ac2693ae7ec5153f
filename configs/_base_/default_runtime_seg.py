"""What every segmentor of the zoo adds to mmsegmentation's runtime."""

custom_imports = dict(imports=["mms_plugin"], allow_failed_imports=False)
