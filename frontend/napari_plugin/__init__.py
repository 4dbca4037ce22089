"""Plugin for napari, which finds it by napari.yaml: a project run on a layer."""
