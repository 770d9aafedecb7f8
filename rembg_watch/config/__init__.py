"""The config file: YAML to one typed :class:`~rembg_watch.config.model.Config`, or every mistake at once."""
