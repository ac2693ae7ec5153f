"""What every detector of the zoo adds to mmdet's runtime."""

custom_imports = dict(imports=["mms_plugin"], allow_failed_imports=False)
