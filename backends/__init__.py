"""Everything that needs a framework: data, embedders, training, export. One framework per subfolder."""
