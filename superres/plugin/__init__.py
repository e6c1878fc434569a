"""The napari plugin: reader, widgets and sample data; a skin over the rooms below, with the settings of the CLI."""
