"""The bundled capture, and the main job on it: masks become objects, which are judged and exported."""
